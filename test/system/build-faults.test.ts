import { open, readdir, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BuildStatus, Status } from '#lib/api/status.ts';
import { exec } from '#lib/exec.ts';
import { parseHeader } from '#lib/image/qcow2/header.ts';
import { forEachCluster } from '#lib/image/qcow2/tables.ts';
import { assertNothingLeft, type Observation, observe } from '../../lab/leaks.ts';
import { failingPackage } from '../../lab/servers/launchpad.ts';
import { type Listening, listen } from '../../lab/servers/listen.ts';
import { leftInWorkDirectory, type Service, startService } from './service.ts';

/** Builds that fail or are cancelled, through the whole service: each says why, and leaves nothing. */

let service: Service;
let before: Observation;
let server: Listening;
const answers = new Map<string, string | Buffer>();

test.before(async () => {
  service = await startService({
    ppas: (series) => [
      {
        owner: 'project',
        name: 'ppaname',
        series: [series],
        packages: [
          { name: 'libfoo' },
          { name: 'needs-what-is-not-there', fields: { Depends: 'no-such-library (>= 2)' } },
          failingPackage('breaks', 'canary-password: the disk of this package is on fire'),
          { name: 'sleeps', scripts: { postinst: 'sleep 600' } },
        ],
      },
      { owner: 'project', name: 'elsewhere', series: ['zesty'], packages: [{ name: 'libfoo' }] },
      { owner: 'project', name: 'unsigned', series: [series], packages: [{ name: 'libfoo' }], flaw: 'wrong-signature' },
    ],
  });
  const answering = createServer((request, response) => {
    const answer = answers.get(request.url ?? '');
    if (answer === undefined) response.writeHead(404).end();
    else response.writeHead(200, { etag: '"always the same"' }).end(answer);
  });
  server = await listen(answering);
  before = await observe(service.workDirectory);
});

test.after(async () => {
  await server[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

test.after.each(async () => {
  await assertNothingLeft(before);
  assert.equal(await leftInWorkDirectory(service), []);
});

function assertFailed(build: BuildStatus, code: string, fault: string, ...parts: readonly (string | RegExp)[]): void {
  assert.is(build.state, 'failed');
  assert.equal([build.error?.code, build.error?.fault], [code, fault], build.error?.message);
  for (const part of parts) assert.match(build.error?.message ?? '', part);
}

const withImage = (url: string) =>
  service.request({ base_image: { image_type: 'cloud', url_list: [url], series: service.base.codename } });

test('a PPA that does not exist is named, before anything large is done', async () => {
  const build = await service.build(service.request({ ppa_list: ['ppa:project/ppaname', 'ppa:nobody/nothing'] }));
  assertFailed(build, 'ppa.not_found', 'request', 'ppa:nobody/nothing');
});

test('a PPA that publishes nothing for the series is named with the series', async () => {
  const build = await service.build(service.request({ ppa_list: ['ppa:project/elsewhere'] }));
  assertFailed(build, 'ppa.series', 'request', 'ppa:project/elsewhere', service.base.codename);
});

test('a PPA signed by another key is refused and named', async () => {
  const build = await service.build(service.request({ ppa_list: ['ppa:project/unsigned'] }));
  assertFailed(build, 'apt.signature', 'request', 'ppa:project/unsigned');
});

test('every package that cannot be had is named in one error', async () => {
  const build = await service.build(
    service.request({ package_list: ['libfoo', 'no-such-package', 'nor-this-one', 'needs-what-is-not-there'] }),
  );
  assertFailed(build, 'apt.package', 'request', 'no-such-package', 'nor-this-one', 'needs-what-is-not-there');
  assert.is(build.error?.step, 'install');
});

test('a package whose script fails is named, with the end of its log', async () => {
  const password = { owner: 'breaks', question: 'breaks/key', type: 'password', value: 'canary-password' } as const;
  const build = await service.build(service.request({ package_list: ['breaks'], debconf_selections: [password] }));
  assertFailed(build, 'apt.install', 'request', 'breaks');
  assert.match(build.error?.log_tail?.join('\n') ?? '', 'on fire');
  const log = await wholeLog(build);
  assert.match(log, /^\S+Z fetch fetching the base image/m);
  assert.match(log, /^\S+Z install .*the disk of this package is on fire$/m);
  assert.match(log, /^\S+Z install failed: .*\(apt\.install\)$/m);
  assert.not.match(log, 'canary-password');
});

/** The text of the log that a build without an image has in the store. */
async function wholeLog({ state, image, artifacts = [] }: BuildStatus): Promise<string> {
  assert.equal([state, image, artifacts.map(({ role }) => role)], ['failed', undefined, ['log']]);
  const path = fileURLToPath(artifacts[0]?.location ?? '');
  assert.equal((await readdir(dirname(path))).sort(), [artifacts[0]?.name, 'log.json'].sort());
  return gunzipSync(await readFile(path)).toString();
}

test('an image that is not there is the request’s fault and names the URL', async () => {
  assertFailed(await service.build(withImage(`${server.url}/gone.img`)), 'image.not_found', 'request', '/gone.img');
});

test('an image that was cut off is not built from', async () => {
  const whole = await open(service.base.path);
  const half = Buffer.alloc(Math.floor(service.base.sizeBytes / 2));
  await whole.read(half, 0, half.length, 0);
  await whole.close();
  answers.set('/half.img', half);
  assertFailed(await service.build(withImage(`${server.url}/half.img`)), 'image.truncated', 'upstream');
});

test('an image that came damaged is not kept, be it in its tables or in a single cluster: the next build fetches it anew', async () => {
  const sound = await readFile(service.base.path);
  const damaged = Buffer.from(sound);
  // The L1 table, whose place is in byte 40 of the header, leads beyond the end of the file.
  damaged.writeBigUInt64BE(0x8000_00ff_ffff_0000n, Number(damaged.readBigUInt64BE(40)));
  answers.set('/same.img', damaged);
  assertFailed(await service.build(withImage(`${server.url}/same.img`)), 'image.truncated', 'upstream');
  const cluster = Buffer.from(sound);
  cluster.fill(0xff, ...(await someCompressedCluster()));
  answers.set('/same.img', cluster);
  const wanted = { ...withImage(`${server.url}/same.img`), ppa_list: [], package_list: [] };
  assertFailed(await service.build(wanted), 'image.corrupt', 'request', /cluster of disk offset \d+ cannot/);
  answers.set('/same.img', sound);
  const build = await service.build({ ...withImage(`${server.url}/same.img`), package_list: ['libfoo'] });
  assert.is(build.state, 'completed', build.error?.message);
});

/** Start and end in the file of the compressed data of a cluster in the middle of the base's disk. */
async function someCompressedCluster(): Promise<[number, number]> {
  await using file = await open(service.base.path);
  const head = Buffer.alloc(65_536);
  await file.read(head, 0, head.length, 0);
  const found: [number, number][] = [];
  await forEachCluster(file, parseHeader(head, { maximumVirtualBytes: 2 ** 40 }), {
    fileSizeBytes: service.base.sizeBytes,
    onCluster(_diskOffset, cluster) {
      if (cluster.kind === 'compressed') found.push([cluster.hostOffset, cluster.hostOffset + 64]);
    },
  });
  const middle = found[Math.floor(found.length / 2)];
  assert.ok(middle);
  return middle;
}

test('an image with a backing file on the worker is refused and the file is not read', async () => {
  const path = join(service.directory, 'hostile.qcow2');
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', '/etc/shadow', '-F', 'raw', path]);
  answers.set('/hostile.img', await readFile(path));
  assertFailed(await service.build(withImage(`${server.url}/hostile.img`)), 'image.unsafe', 'request', 'backing file');
});

test('an image of another series than asked for is refused', async () => {
  const request = service.request({ ppa_list: [] });
  const build = await service.build({ ...request, base_image: { ...request.base_image, series: 'trusty' } });
  assertFailed(build, 'image.series', 'request', 'trusty', service.base.codename);
});

test('a web page instead of an image is called that', async () => {
  answers.set('/page.html', '<!DOCTYPE html><html><body>Sign in</body></html>');
  const build = await service.build(withImage(`${server.url}/page.html`));
  assert.is(build.state, 'failed');
  assert.is(build.error?.fault, 'request', build.error?.message);
});

test('DELETE ends a build in the middle of an installation within seconds', async () => {
  const { accepted } = await service.client.submit(service.request({ package_list: ['sleeps'] }));
  await inStep(accepted.build_id, 'install');
  await service.client.cancel(accepted.build_id);
  const build = await service.ended(accepted.build_id);
  assert.equal([build.state, build.error?.code], ['cancelled', 'build.cancelled']);
});

test('a cancel_url that says "building": false ends a build; odd answers before do not', async () => {
  answers.set('/job/api/json', '<html>starting up</html>');
  const cancelUrl = `${server.url}/job/api/json`;
  const { accepted } = await service.client.submit(
    service.request({ package_list: ['sleeps'], cancel_url: cancelUrl }),
  );
  await inStep(accepted.build_id, 'install');
  answers.set('/job/api/json', '{"building": false}');
  const build = await service.ended(accepted.build_id);
  assert.is(build.state, 'cancelled');
  assert.match(build.error?.message ?? '', 'cancel_url');
});

test('after all these failures the service still builds, and has logged no secret and no unexpected error', async () => {
  const build = await service.build(service.request({ package_list: ['libfoo'] }));
  assert.is(build.state, 'completed', build.error?.message);
  assert.ok((await stat(new URL(build.image?.location ?? '').pathname)).size > 0);
  const log = await service.log();
  assert.equal(
    log.split('\n').filter((line) => line.includes('"level":"error"')),
    [],
  );
  assert.not.match(log, /imagebuilder:[A-Za-z0-9_-]{20,}@/);
});

test('events and the status have no field that the descriptions of the API do not name', async () => {
  const { events, sent } = service.caller;
  assert.equal(
    [...new Set(events.map(({ state }) => state))].sort(),
    ['cancelled', 'completed', 'failed', 'queued', 'running'],
    'events of all states have come',
  );
  assert.equal(sent, events);
  const answer = await (await fetch(`${service.url}/api/v1/imagebuilder/status`)).json();
  const status = Status.parse(answer);
  assert.ok(status.finished.length > 0);
  assert.equal(answer, status);
});

async function inStep(buildId: string, step: string): Promise<void> {
  for (;;) {
    const { running, finished } = await service.client.status({ buildId });
    if (running[0]?.step === step) return;
    if (finished[0] !== undefined) throw new Error(`ended before ${step}: ${finished[0].error?.message}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

test.run();
