import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import { followLog } from '#lib/client/log.ts';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { bootImage } from '../../lab/images/boot.ts';
import { assertNothingLeft, type Observation, observe } from '../../lab/leaks.ts';
import { markerPackage } from '../../lab/servers/launchpad.ts';
import { listen } from '../../lab/servers/listen.ts';
import { whenLong } from '../runner/long.ts';
import { type SpanReceiver, startSpanReceiver } from '../unit/trace/span-receiver.ts';
import { admitToFolder, attackFolders } from './other-user.ts';
import { leftInWorkDirectory, type Service, startService } from './service.ts';

/** Builds that succeed, through the whole service: gateway, functions, RabbitMQ, apt, a real cloud image, a boot. */

const marker = 'baz-utils-was-here';
const long = whenLong(test);
let service: Service;
let tracing: SpanReceiver;
let before: Observation;

test.before(async () => {
  tracing = await startSpanReceiver();
  service = await startService({
    settings: { OTEL_EXPORTER_OTLP_ENDPOINT: tracing.url },
    ppas: (series) => [
      {
        owner: 'project',
        name: 'ppaname',
        series: [series],
        packages: [
          { name: 'libfoo', version: '1.4.2-1', files: { '/usr/share/libfoo/greeting': 'hello\n' } },
          // The first entry of the boot menu's submenu that is not of the kernel which the base came with.
          { name: 'boots-new-kernel', files: { '/etc/default/grub.d/99-new-kernel.cfg': 'GRUB_DEFAULT="1>2"\n' } },
          { ...markerPackage('baz-utils', marker), version: '2.0-3', fields: { Depends: 'libfoo (>= 1.4), jq' } },
        ],
      },
    ],
  });
  before = await observe(service.workDirectory);
});

test.after(async () => {
  await service[Symbol.asyncDispose]();
  await tracing[Symbol.asyncDispose]();
});

test.after.each(async () => {
  await assertNothingLeft(before);
  assert.equal(await leftInWorkDirectory(service), []);
});

/** The lines of a build as its worker writes them, from before it begins to its end. */
async function linesWhileBuilding(ticketId: string | number): Promise<string[]> {
  const find = () => service.caller.events.find(({ ticket_id }) => ticket_id === ticketId);
  while (find() === undefined) await sleep(20);
  return await Array.fromAsync(followLog(service.client, find()?.build_id ?? '', new AbortController().signal));
}

/** The log that was followed is the one in the store, for the API and the command. */
async function assertSameLog(buildId: string, live: readonly string[]): Promise<void> {
  const text = `${live.join('\n')}\n`;
  assert.match(text, /Z install .*baz-utils/);
  const stored = await fetch(`${service.url}/api/v1/build_image/${buildId}/log`);
  assert.is(await stored.text(), text);
  const command = join(import.meta.dirname, '../../bin/imagebuilder.ts');
  const { stdout } = await exec(process.execPath, [command, 'log', buildId, '--url', service.url]);
  assert.is(stdout.trimEnd(), text.trimEnd());
}

/** One span for the submission, one for the attempt, and one for each step, all in the trace that the callback names. */
async function assertTraced(steps: readonly string[], traceparent: unknown): Promise<void> {
  const [, traceId, spanId] = String(traceparent).split('-');
  const find = () => tracing.spans.filter((span) => span.traceId === traceId);
  while (find().length < steps.length + 2) await sleep(50);
  const [submission, attempt] = ['submit build', 'build attempt'].map((name) =>
    find().find((span) => span.name === name),
  );
  assert.equal([submission?.parentSpanId, attempt?.parentSpanId], [undefined, submission?.spanId]);
  assert.equal([attempt?.spanId, attempt?.attributes['imagebuilder.build.state']], [spanId, 'completed']);
  const parts = find().filter((span) => span.parentSpanId === spanId);
  assert.equal(
    parts.map(({ name, status }) => [name, status.code]),
    steps.map((step) => [step, 0]),
  );
}

test('a cloud image gets its PPA and packages, and the new image boots', async () => {
  const callbacks: { event: BuildEvent; headers: Record<string, unknown> }[] = [];
  const server = createServer(async (request, response) => {
    callbacks.push({ event: JSON.parse(await text(request)), headers: request.headers });
    response.end();
  });
  await using receiver = await listen(server);
  const request = service.request({
    // Beside another kernel, which runs update-initramfs and update-grub inside: the result must still boot, with it.
    package_list: ['libfoo', 'baz-utils', 'boots-new-kernel', 'linux-image-amd64'],
    callback_url: `${receiver.url}/done`,
  });
  const live = linesWhileBuilding(request.ticket_id);
  const build = await service.build(request);
  assert.is(build.state, 'completed', `${build.error?.message}\n${build.error?.log_tail?.join('\n')}`);
  await assertSameLog(build.build_id, await live);
  const { image } = build;
  assert.ok(image);
  const base = image.base_image;
  assert.equal([base?.verified_by, base?.sha256], ['checksums_over_http', image.base_image_sha256]);

  const packages = new Map(image.packages?.map(({ name, version }) => [name, version]));
  assert.is(packages.get('libfoo'), '1.4.2-1');
  assert.is(packages.get('baz-utils'), '2.0-3');
  assert.ok(packages.has('jq'), 'a dependency from the archive');

  const path = fileURLToPath(image.location);
  const { sizeBytes, checksums } = await hashFile(path);
  assert.equal([sizeBytes, checksums], [image.size, image.checksums]);
  await exec('qemu-img', ['check', '-f', 'qcow2', path]);
  assert.match((await exec('qemu-img', ['info', '-f', 'qcow2', path])).stdout, 'file format: qcow2');
  assert.not.match((await exec('qemu-img', ['info', '-f', 'qcow2', path])).stdout, 'backing file');

  const events = service.caller.events.filter((event) => event.build_id === build.build_id);
  assert.is(events[0]?.state, 'queued');
  const steps = [...new Set(events.map((event) => event.step).filter((step) => step !== null))];
  assert.equal(steps, ['fetch', 'inspect', 'open', 'sources', 'install', 'seal', 'repack', 'check', 'upload']);
  assert.equal(
    events.map((event) => event.state).filter((state) => state !== 'queued' && state !== 'running'),
    ['completed'],
  );
  for (const [index, event] of events.entries())
    assert.ok(index === 0 || event.sequence > (events[index - 1]?.sequence ?? 0));

  while (callbacks.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(callbacks[0]?.event.image, image);
  assert.is(callbacks[0]?.headers['x-function-status'], '200');
  await assertTraced(steps, callbacks[0]?.headers.traceparent);

  const check = [
    'echo "kernel: $(uname -r)"', // not alone on its line: the prompt of the login may come right before it
    'cat /usr/share/libfoo/greeting',
    'test ! -e /usr/sbin/policy-rc.d && echo no-policy-left',
    'grep -c -e loop -e hostdisk /boot/grub/grub.cfg || echo no-host-device-names',
    'dpkg --audit; echo dpkg-audit-$?',
    'apt-get -o Acquire::Retries=0 indextargets >/dev/null && echo sources-parse',
  ].join('; ');
  const console = await bootImage({
    path,
    until: /MARK-END-OK|imagebuilder-boot-done/,
    command: `${check}; echo imagebuilder-boot-done`,
  });
  assert.match(console, marker);
  assert.match(console, 'no-policy-left');
  assert.match(console, 'no-host-device-names');
  assert.match(console, 'dpkg-audit-0');
  assert.match(console, 'hello');
  assert.match(console, 'sources-parse');
  const kernel = [...packages.keys()]
    .find((name) => /^linux-image-\d.*-amd64$/.test(name))
    ?.replace('linux-image-', '');
  assert.ok(kernel !== undefined);
  assert.match(console, `kernel: ${kernel}\n`);
});

long(
  'another user of the machine can read, lock and replace nothing of a build, neither in its course nor later',
  async () => {
    await admitToFolder(service.directory);
    const folders = ['work', 'cache', 'store'].map((name) => join(service.directory, name));
    const { accepted } = await service.client.submit(service.request());
    while ((await leftInWorkDirectory(service)).length === 0) await sleep(20);
    const during = await attackFolders(folders);
    const build = await service.ended(accepted.build_id);
    assert.is(build.state, 'completed', build.error?.message);
    assert.equal([...during, ...(await attackFolders(folders))], []);
  },
);

long(
  'two builds at once both succeed, each with its own packages and format; without packages the PPA alone is added',
  async () => {
    const [one, other] = await Promise.all([
      service.build(service.request({ package_list: ['libfoo'] })),
      service.build(service.request({ package_list: [], output_format: 'raw' })),
    ]);
    assert.equal([one.state, other.state], ['completed', 'completed'], `${one.error?.message} ${other.error?.message}`);
    assert.equal([one.image?.packages?.map(({ name }) => name), other.image?.packages], [['libfoo'], []]);
    assert.equal([one.image?.format, other.image?.format], ['qcow2', 'raw']);
    const path = fileURLToPath(other.image?.location ?? '');
    const { size, blocks } = await stat(path);
    assert.match(path, /\.raw$/);
    assert.is(size, other.image?.size);
    assert.ok(blocks * 512 < size, 'it has holes');
    const { checksums } = await hashFile(path);
    assert.equal(checksums, other.image?.checksums);
    const info = await exec('qemu-img', [
      'info',
      '-f',
      'qcow2',
      '--output=json',
      fileURLToPath(one.image?.location ?? ''),
    ]);
    assert.is(size, JSON.parse(info.stdout)['virtual-size']);
  },
);

test.run();
