import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Accepted, BuildStatus, Status } from '#lib/api/status.ts';
import { workerArchitecture } from '#lib/architecture.ts';
import { findKernel } from '#lib/guest/vm/kernel.ts';
import { emulators } from '#lib/guest/vm/machine.ts';
import { call, runFunction, startFunction } from '../../lab/servers/function.ts';
import { freePorts } from '../../lab/servers/ports.ts';
import { startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { asNobody, nobody } from './other-user.ts';
import { eventually, imagebuilder, startImagebuilder } from './serve/command.ts';

/** Whether a service that cannot build says so: at its start, while it runs, and to callers. */

const repository = join(import.meta.dirname, '../..');
const worker = join(repository, 'functions/build-worker/handler.ts');
const serve = ['serve', '--listen', '127.0.0.1:0'];

let directory: string;
let settings: Record<string, string>;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imagebuilder-ability-'));
  await chmod(directory, 0o755);
  settings = {
    IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
    IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
    IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
    IMAGEBUILDER_DISK_RESERVE: '64M',
  };
});
test.after(() => rm(directory, { recursive: true, force: true }));

test('serve and a worker whose folders cannot be used end with 2 and the words of the doctor', async () => {
  await writeFile(join(directory, 'file'), '');
  await symlink(join(directory, 'nowhere'), join(directory, 'link'));
  const set = 'set IMAGEBUILDER_\\w+_DIRECTORY to a folder that it can write to$';
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'WORK',
      '/proc/work',
      new RegExp(
        `work folder: /proc/work \\(to be made in /proc\\) cannot be written: .*make /proc/work for user 0, or ${set}`,
      ),
    ],
    [
      'CACHE',
      join(directory, 'file'),
      new RegExp(`cache folder: \\S+/file cannot be written: it is no folder\\. To do: ${set}`),
    ],
    [
      'STORE',
      join(directory, 'file/below'),
      new RegExp(`store folder: \\S+/below \\(to be made in \\S+/file\\) cannot .*no folder\\. To do: ${set}`),
    ],
    [
      'WORK',
      join(directory, 'link/below'),
      new RegExp(`work folder: .*it is a link to nothing\\. To do: mend the link \\S+/link, or ${set}`),
    ],
  ];
  const runs = cases.map(async ([name, path, message], index) => {
    const env = { ...settings, [`IMAGEBUILDER_${name}_DIRECTORY`]: path };
    const served = await imagebuilder(serve, { env });
    assert.equal([served.exitCode, served.stdout], [2, ''], served.stderr);
    assert.match(served.stderr, message);
    if (index > 0) return;
    const started = await runFunction({ handler: worker, env });
    assert.is(started.exitCode, 2);
    assert.match((JSON.parse(started.lines.at(-1) ?? '{}') as { message: string }).message, message);
  });
  await Promise.all(runs);
});

test('every folder that a user who is not root cannot write is named, with what to do', async () => {
  const own = join(directory, 'of-root');
  await mkdir(own);
  const env = { ...settings, IMAGEBUILDER_WORK_DIRECTORY: own };
  const [file = '', ...args] = [...asNobody, process.execPath, join(repository, 'bin/imagebuilder.ts'), ...serve];
  const result = await execa(file, args, { env, reject: false });
  assert.equal([result.exitCode, result.stdout], [2, ''], result.stderr);
  assert.match(result.stderr, /^imagebuilder: no build can run here:\n {2}work folder: .*Permission denied/);
  assert.match(result.stderr, `let user ${nobody} write to ${own}, or set IMAGEBUILDER_WORK_DIRECTORY`);
  for (const name of ['cache', 'store']) {
    assert.match(
      result.stderr,
      `${name} folder: ${join(directory, name)} (to be made in ${directory}) cannot be written`,
    );
  }
});

test('a full disk and a read-only one end serve', async () => {
  const work = join(directory, 'mounted');
  await mkdir(work, { mode: 0o711 });
  const cases = [
    [
      'mount -t tmpfs -o size=1M,mode=0711 none "$1"',
      /work folder: .*1\.0 MiB free, and builds need 64\.0 MiB to begin/,
    ],
    ['mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', /work folder: .*Read-only file system/],
  ] as const;
  for (const [script, message] of cases) {
    const inside = ['--mount', '--propagation', 'private', 'sh', '-c', `set -e; ${script}; shift; exec "$@"`];
    const command = [process.execPath, join(repository, 'bin/imagebuilder.ts'), ...serve];
    const env = { ...settings, IMAGEBUILDER_WORK_DIRECTORY: work };
    const result = await execa('unshare', [...inside, 'serve', work, ...command], { env, reject: false });
    assert.equal([result.exitCode, result.stdout], [2, ''], result.stderr);
    assert.match(result.stderr, message);
  }
});

/** Words that run a command in a mount namespace of its own, in which `script` has run. */
const inMountNamespace = (script: string) => [
  ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c', `set -e; ${script}; exec "$@"`, 'inside'],
];
const hide = (path: string) => inMountNamespace(`mount --bind /dev/null ${path}`);

/** The details of the findings that `look`, lines of a module, prints when it runs below `words`. */
async function lookBelow(words: readonly string[], look: string, env: Record<string, string>): Promise<string[]> {
  const [file = '', ...args] = [...words, process.execPath, '--input-type=module', '--eval', look];
  const { stdout } = await execa(file, args, { cwd: repository, env: { ...settings, ...env } });
  const findings = JSON.parse(stdout) as readonly { readonly what: string; readonly detail: string }[];
  return findings.map(({ what, detail }) => `${what}: ${detail}`);
}

test('serve and a worker whose guest can open no image end with 2 and the words of the doctor', async () => {
  const none = 'guest: images cannot be opened on this machine: for the guest';
  const env = { ...settings, IMAGEBUILDER_VM_KERNEL: '/nowhere/vmlinuz-1' };
  const served = await imagebuilder(serve, { env });
  assert.equal([served.exitCode, served.stdout], [2, ''], served.stderr);
  assert.match(served.stderr, `${none} vm, the vm has no kernel to run`);
  const started = await runFunction({ handler: worker, env });
  assert.is(started.exitCode, 2);
  assert.match(started.lines.at(-1) ?? '', `no build can run here: ${none} vm, the vm has no kernel to run`);

  const look = `
    const { findGuestHindrances } = await import('#lib/doctor/guest-hindrances.ts');
    const { loadConfig } = await import('#lib/config/load.ts');
    console.log(JSON.stringify(await findGuestHindrances(loadConfig().guest)));`;
  const host = { IMAGEBUILDER_GUEST: 'host' };
  const noDevices = inMountNamespace('mount -t tmpfs none /dev');
  const emulator = `/usr/bin/${emulators[workerArchitecture]?.name}`;
  const cases: readonly (readonly [readonly string[], Record<string, string>, RegExp | string])[] = [
    [hide('/usr/bin/crun'), host, `${none} host, tools are missing: apt-get install crun`],
    [['setpriv', '--bounding-set=-sys_admin', '--'], host, `${none} host, mounting needs CAP_SYS_ADMIN`],
    [asNobody, host, `${none} host, mounting needs root`],
    [noDevices, host, /the guest host, \/dev\/fuse cannot be opened: .*\/dev\/loop-control/],
    [hide(emulator), {}, /guest vm, the vm needs qemu-system-\w+: .*; the guest host is taken only where/],
    [hide('/usr/bin/busybox'), { IMAGEBUILDER_GUEST: 'vm' }, `${none} vm, the vm needs a static busybox`],
    [hide('/usr/bin/gpgv'), {}, 'tool gpgv: is not installed (package gpgv); every build needs it'],
  ];
  for (const [words, variables, message] of cases) {
    const found = await lookBelow(words, look, variables);
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', message);
  }
});

test('a worker tries its host guest before it takes a build, because files and rights do not show that it works', async () => {
  const look = `
    const { createGuestLook } = await import('#lib/doctor/guest-hindrances.ts');
    const { chooseGuest } = await import('#lib/guest/choose.ts');
    const { loadConfig } = await import('#lib/config/load.ts');
    const { createLog } = await import('#lib/log.ts');
    const { folders, guest, tools } = loadConfig();
    const host = { ...guest, ...tools };
    const vm = { ...host, ...folders };
    const choose = () => chooseGuest({ setting: 'host', directory: folders.workDirectory, vm, host, log: createLog() });
    console.log(JSON.stringify(await createGuestLook({ settings: guest, chooseGuest: choose })()));`;
  const host = { IMAGEBUILDER_GUEST: 'host' };
  assert.equal(await lookBelow(['env'], look, host), []);
  const [finding = ''] = await lookBelow(inMountNamespace('mount --bind /bin/false /usr/bin/crun'), look, host);
  assert.match(finding, /^guest: .*for the guest host, crun does not hold what it is to run/);
});

test('what a dead worker left on a full disk is removed before that counts as full', async () => {
  const work = join(directory, 'left');
  await mkdir(work, { mode: 0o711 });
  const script = `set -e; mount -t tmpfs -o size=100M,mode=0711 none "$1"
    mkdir "$1/build.dead"; head -c 60M /dev/zero >"$1/build.dead/disk"; shift; exec "$@"`;
  const look = `
    const { findHindrances } = await import('#lib/doctor/hindrances.ts');
    const { reclaimIn } = await import('#lib/pipeline/reclaim.ts');
    const { loadConfig } = await import('#lib/config/load.ts');
    const { createLog } = await import('#lib/log.ts');
    const { folders, limits } = loadConfig();
    const options = { fileStore: true, ...reclaimIn(folders, createLog()) };
    console.log(JSON.stringify(await findHindrances({ ...folders, ...limits }, options)));`;
  const inside = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'look', work, process.execPath];
  const result = await execa('unshare', [...inside, '--input-type=module', '--eval', look], {
    cwd: repository,
    env: { ...settings, IMAGEBUILDER_WORK_DIRECTORY: work },
    reject: false,
  });
  assert.is(result.stdout, '[]', result.stderr);
  assert.match(result.stderr, 'removed what a dead worker left');
});

test('a misspelt setting ends serve, each function and the commands of callers, and the nearest one is named', async () => {
  const message = 'IMAGEBUILDER_GEUST is no setting; did you mean IMAGEBUILDER_GUEST?';
  const env = { ...settings, IMAGEBUILDER_GEUST: 'vm' };
  for (const args of [serve, ['status'], ['build', 'hello']]) {
    const result = await imagebuilder(args, { env });
    assert.equal([result.exitCode, result.stdout], [2, ''], args.join(' '));
    assert.match(result.stderr, message);
  }
  for (const name of ['status', 'build-image', 'images', 'build-worker']) {
    const handler = join(repository, 'functions', name, 'handler.ts');
    const { exitCode, lines } = await runFunction({ handler, env });
    assert.is(exitCode, 2, name);
    assert.match(lines.join('\n'), message);
  }
});

const request = {
  ticket_id: 1,
  base_image: { image_type: 'cloud', url_list: ['http://127.0.0.1:9/a.img'], series: 'noble' },
  ppa_list: [],
  package_list: ['hello'],
  progress_trigger: 'ability',
};

async function submit(url: string): Promise<Accepted> {
  const headers = { 'content-type': 'application/json' };
  const options = { method: 'POST', headers, body: JSON.stringify(request) };
  return Accepted.parse(await (await fetch(`${url}/api/v1/build_image/`, options)).json());
}

async function statusOf(url: string): Promise<Status> {
  return Status.parse(await (await fetch(`${url}/api/v1/imagebuilder/status`)).json());
}

async function buildOf(url: string, buildId: string): Promise<BuildStatus> {
  return BuildStatus.parse(await (await fetch(`${url}/api/v1/build_image/${buildId}`)).json());
}

test('a service that cannot build says so at once, at each place, as long as that is so', async () => {
  const [port = 0] = await freePorts(1);
  const { imagePath } = await findKernel('');
  const kernel = join(directory, basename(imagePath));
  await symlink(imagePath, kernel);
  const env = {
    ...settings,
    IMAGEBUILDER_AMQP_URL: `amqp://127.0.0.1:${port}`,
    IMAGEBUILDER_VM_KERNEL: kernel,
  };
  const child = startImagebuilder(serve, env);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk));
  try {
    const url = await eventually(
      'serve',
      async () => /listens on (http\S+)/.exec(output)?.[1],
      () => output,
    );
    await eventually('the line', async () =>
      /"without RabbitMQ no build can be [^\n]+nothing listens on port/.test(output),
    );
    const sick = await fetch(`${url}/healthz`);
    assert.equal([sick.status, await sick.json()], [503, { ready: false, reason: 'RabbitMQ cannot be used' }]);
    const degraded = await imagebuilder(['status', '--url', url]);
    assert.is(degraded.exitCode, 1);
    assert.match(degraded.stdout, /: degraded\nRabbitMQ: out of reach/);

    await using rabbitMq = await startRabbitMq();
    const relay = createServer((socket) => {
      const onward = connect(rabbitMq.port, '127.0.0.1');
      for (const [one, other] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        one.pipe(other);
        one.on('error', () => other.destroy());
      }
    }).listen(port, '127.0.0.1');
    await once(relay, 'listening');
    await eventually(
      'health',
      async () => (await fetch(`${url}/healthz`)).ok,
      () => output,
    );
    await eventually('the news', async () => output.includes('"RabbitMQ can be used again"'));
    await eventually('the worker', async () => (await statusOf(url)).workers.length === 1);
    assert.is((await imagebuilder(['status', '--url', url])).exitCode, 0);

    // The worker becomes unable while it runs.
    await rm(join(directory, 'work'), { recursive: true });
    await writeFile(join(directory, 'work'), '');
    await fetch(`${url}/async-function/build-worker`, { method: 'POST' });
    const reason = `work folder: ${join(directory, 'work')} cannot be written: it is no folder`;
    await eventually(
      'the news',
      async () => (await statusOf(url)).workers[0]?.unable === reason,
      () => output,
    );
    assert.match(output, `"this worker takes no builds"`);
    const shown = await imagebuilder(['status', '--url', url]);
    assert.is(shown.exitCode, 1);
    assert.match(shown.stdout, `(takes no builds: ${reason})`);
    const first = await submit(url);
    assert.match(first.warnings?.[0] ?? '', `: ${reason}); the build waits until one can`);
    assert.is((await buildOf(url, first.build_id)).message, `Waiting for a worker: ${first.warnings?.[0]}`);
    assert.is((await submit(url)).build_id, first.build_id, 'the same request is in work');

    // And able again: it takes the build, whose base image is out of reach.
    await rm(join(directory, 'work'));
    await fetch(`${url}/async-function/build-worker`, { method: 'POST' });
    await eventually(
      'the end',
      async () => (await buildOf(url, first.build_id)).state === 'failed',
      () => output,
    );
    assert.equal([(await statusOf(url)).workers[0]?.unable, (await statusOf(url)).status], [undefined, 'ok']);
    assert.match(output, '"this worker takes builds again"');

    // The same where its guest can open no image any more.
    await rm(kernel);
    await fetch(`${url}/async-function/build-worker`, { method: 'POST' });
    await eventually('the news', async () => {
      const { unable = '' } = (await statusOf(url)).workers[0] ?? {};
      return unable.startsWith(
        'guest: images cannot be opened on this machine: for the guest vm, the vm has no kernel',
      );
    });
    assert.match((await submit(url)).warnings?.[0] ?? '', /: guest: images .*; the build waits until one can$/);

    child.kill('SIGTERM');
    assert.is((await child).exitCode, 0, output);
    await using alone = await startFunction({
      handler: join(repository, 'functions/build-image/handler.ts'),
      env: { ...settings, IMAGEBUILDER_AMQP_URL: rabbitMq.url },
    });
    const headers = { 'content-type': 'application/json' };
    const answer = await call(alone.address, '/', {
      method: 'POST',
      headers,
      body: JSON.stringify({ ...request, ticket_id: 2 }),
    });
    assert.is(answer.status, 202);
    assert.equal((JSON.parse(answer.body.toString()) as Accepted).warnings, [
      'no worker is known to be running; the build waits until one starts',
    ]);
    relay.close();
  } finally {
    child.kill('SIGKILL');
  }
});

test.run();
