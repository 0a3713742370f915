import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Diagnosis } from '#lib/doctor/diagnose.ts';
import type { Finding } from '#lib/doctor/finding.ts';
import { exec } from '#lib/exec.ts';
import { rights } from '#lib/queue/topology.ts';
import { findTool } from '#lib/tools.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { asNobody, nobody } from './other-user.ts';
import { eventually } from './serve/command.ts';

/** `imagebuilder doctor` on this machine, as root and as nobody, and with one thing after the other taken away. */

const command = join(import.meta.dirname, '../../bin/imagebuilder.ts');
const password = 'hush-hush-hush';

let directory: string;
let rabbitMq: RabbitMq;
let amqpUrl: string;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imagebuilder-doctor-test-'));
  await chmod(directory, 0o755);
  rabbitMq = await startRabbitMq();
  await rabbitMq.control(['add_user', 'doctor', password]);
  await rabbitMq.control(['set_permissions', 'doctor', ...Object.values(rights)]);
  amqpUrl = rabbitMq.url.replace('amqp://', `amqp://doctor:${password}@`);
});
test.after(async () => {
  await rabbitMq[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

interface Told extends Diagnosis {
  readonly exitCode: number | undefined;
  readonly findings: readonly Finding[];
  readonly output: string;
}

/** New folders for work, cache and store that `owner` may write to, and the settings that name them. */
async function folders(owner = 0) {
  const path = await mkdtemp(join(directory, 'machine-'));
  await chmod(path, 0o755);
  const names = ['work', 'cache', 'store', 'temporary'];
  for (const name of names) {
    await mkdir(join(path, name));
    await chown(join(path, name), owner, owner);
  }
  const [work = '', cache = '', store = '', temporary = ''] = names.map((name) => join(path, name));
  const environment = {
    IMAGEBUILDER_AMQP_URL: amqpUrl,
    IMAGEBUILDER_WORK_DIRECTORY: work,
    IMAGEBUILDER_CACHE_DIRECTORY: cache,
    IMAGEBUILDER_STORE_DIRECTORY: store,
    IMAGEBUILDER_IMAGE_CACHE_SIZE: '1G',
    IMAGEBUILDER_APT_CACHE_SIZE: '1G',
    IMAGEBUILDER_FINISHED_CACHE_SIZE: '0',
    IMAGEBUILDER_LAYERS_CACHE_SIZE: '0',
    IMAGEBUILDER_DISK_RESERVE: '64M',
    TMPDIR: temporary,
  };
  const left = async () => (await Promise.all([work, cache, store, temporary].map((name) => readdir(name)))).flat();
  return { work, environment, left };
}

/** Runs the doctor behind the command `before`, and reads what it says to machines. */
async function doctor(environment: Readonly<Record<string, string>>, before: readonly string[] = []): Promise<Told> {
  const [file = '', ...args] = [...before, process.execPath, command, 'doctor', '--json'];
  const { exitCode, stdout, stderr } = await execa(file, args, {
    env: { PATH: process.env.PATH, HOME: directory, ...environment },
    extendEnv: false,
    reject: false,
    timeout: 240_000,
  });
  assert.not.match(stdout + stderr, password);
  assert.is(stderr, '');
  const lines = stdout.split('\n').map((line) => JSON.parse(line) as Finding | Diagnosis);
  const last = lines.pop() as Diagnosis;
  return { ...last, exitCode, findings: lines as Finding[], output: stdout };
}

/** The faults that keep builds from running. */
const faults = ({ findings }: Told) => findings.filter(({ ok }) => !ok).map(({ what }) => what);
const finding = (told: Told, what: string): Finding => {
  const found = told.findings.find((candidate) => candidate.what === what);
  assert.ok(found, `${what} in ${told.output}`);
  return found;
};

/** A command that runs what follows it in a mount namespace of its own, after a script whose `$1` is `argument`. */
const afterMounting = (script: string, argument: string) => [
  ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c', `set -e; ${script}; shift; exec "$@"`],
  ...['doctor', argument],
];

test('root on a whole machine can build, and what was tried leaves nothing', async () => {
  const { environment, left } = await folders();
  const told = await doctor(environment);
  assert.equal(faults(told), [], told.output);
  assert.equal([told.exitCode, told.ok], [0, true]);
  assert.ok(told.guest);
  assert.is(finding(told, 'guest').detail, `builds take the ${told.guest.kind} guest: ${told.guest.reason}`);
  assert.is(finding(told, 'host guest').detail, 'works, in a user namespace: root inside is a user without rights');
  assert.match(finding(told, 'user').detail, /^root, with CAP_SYS_ADMIN/);
  assert.match(finding(told, 'user of tools').detail, /^QEMU and its tools, apt and gpg run as users without rights/);
  assert.match(finding(told, 'RabbitMQ').detail, /^[0-9.]+ at amqp:\/\/127\.0\.0\.1:[0-9]+, its queues are not there/);
  for (const name of ['qemu-img', 'qemu-storage-daemon', 'gpg', 'flock', 'busybox']) {
    assert.match(finding(told, 'tools').detail, new RegExp(`(^|, )${name} [0-9]+\\.[0-9.]+`));
  }
  assert.match(finding(told, 'work folder').detail, /GiB free$/);
  assert.equal(await left(), []);
  assert.is((await rabbitMq.control(['list_queues', '--silent', 'name'])).trim(), '', 'nothing is declared');
});

test('the user nobody can build in the vm guest, and sees what the host guest would need', async () => {
  const { environment, left } = await folders(nobody);
  const told = await doctor(environment, asNobody);
  assert.equal(faults(told), [], told.output);
  assert.equal([told.exitCode, told.ok, told.guest?.kind], [0, true, 'vm']);
  assert.match(finding(told, 'user').detail, /^user 65534, not root, without capabilities, no new privileges/);
  assert.match(finding(told, 'host guest').detail, 'mounting needs root, and this process is not root');
  assert.is(told.guest?.accelerator === 'tcg', told.todo.length > 0);
  assert.equal(await left(), []);
});

test('people get a line each, what it comes to, and what to do', async () => {
  const { environment } = await folders();
  const env = { ...process.env, ...environment, IMAGEBUILDER_AMQP_URL: 'amqp://somebody:s3cr3t@127.0.0.1:1/' };
  const result = await execa(process.execPath, [command, 'doctor'], { env, reject: false });
  assert.is(result.exitCode, 1);
  assert.match(result.stdout, /^ok {4}user: root/m);
  assert.match(result.stdout, /^FAIL {2}RabbitMQ: RabbitMQ at amqp:\/\/127\.0\.0\.1:1\/? is out of reach: /m);
  assert.match(
    result.stdout,
    /\n\nNo build can run here\.\n\nTo do:\n {2}- start RabbitMQ, or set IMAGEBUILDER_AMQP_URL/,
  );
  assert.not.match(result.stdout, 's3cr3t');
});

test('a broker that refuses the password is a fault that shows no password', async () => {
  const { environment } = await folders();
  const told = await doctor({ ...environment, IMAGEBUILDER_AMQP_URL: `${amqpUrl.replace(password, 'wrong-one')}` });
  assert.equal([told.exitCode, ...faults(told)], [1, 'RabbitMQ']);
  assert.match(finding(told, 'RabbitMQ').detail, /ACCESS[_-]REFUSED/);
  assert.not.match(told.output, 'wrong-one');
});

test('a missing tool is named with the package to install', async () => {
  const { environment } = await folders();
  const path = await findTool('qemu-img');
  assert.ok(path);
  const told = await doctor(environment, afterMounting('mount --bind /dev/null "$1"', path));
  assert.equal([told.exitCode, ...faults(told)], [1, 'tool qemu-img', 'guest']);
  assert.equal(finding(told, 'tool qemu-img').packages, ['qemu-utils']);
  assert.is(told.todo[0], 'apt-get install --no-install-recommends qemu-utils');
});

test('a work folder without room, and one that cannot be written, are faults', async () => {
  const { environment, work } = await folders();
  const fill = 'mount -t tmpfs -o size=1M,mode=0700 none "$1"; head -c 2M /dev/zero >"$1/full" 2>/dev/null || :';
  const full = await doctor(environment, afterMounting(fill, work));
  assert.equal([full.exitCode, ...faults(full)], [1, 'work folder'], full.output);
  assert.match(finding(full, 'work folder').detail, /0 bytes of 1\.0 MiB free, and builds need 64\.0 MiB to begin$/);

  const readOnly = await doctor(
    environment,
    afterMounting('mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', work),
  );
  assert.equal([readOnly.exitCode, ...faults(readOnly)], [1, 'work folder'], readOnly.output);
  assert.match(finding(readOnly, 'work folder').detail, /cannot be written: Read-only file system$/);

  // Of root, in an environment of nobody.
  const foreign = await doctor(environment, asNobody);
  assert.equal(faults(foreign), ['work folder', 'cache folder', 'store folder', 'temporary folder', 'guest']);
  assert.match(finding(foreign, 'work folder').todo ?? '', /^let user 65534 write to /);
});

test('a file system that hangs does not hang the doctor', async () => {
  const { environment, work } = await folders();
  await exec('qemu-img', ['create', '-q', '-f', 'raw', join(directory, 'disk'), '1M']);
  const exported = join(work, 'hung');
  await writeFile(exported, '');
  // In a mount namespace of its own, with which the mount is gone, however the daemon ends.
  const daemon = execa(
    'unshare',
    [
      ...['--mount', '--propagation', 'private', '--', 'qemu-storage-daemon'],
      ...['--blockdev', `driver=file,node-name=disk,filename=${join(directory, 'disk')}`],
      ...['--export', `fuse,id=disk,node-name=disk,mountpoint=${exported},writable=on`],
    ],
    { reject: false },
  );
  try {
    const mounts = () => readFile(`/proc/${daemon.pid}/mountinfo`, 'utf8');
    await eventually('the export', async () => (await mounts()).includes(exported));
    daemon.kill('SIGSTOP');
    const inside = ['nsenter', `--target=${daemon.pid}`, '--mount', '--'];
    const told = await doctor({ ...environment, IMAGEBUILDER_CACHE_DIRECTORY: exported }, inside);
    assert.equal([told.exitCode, ...faults(told)], [1, 'cache folder'], told.output);
    assert.match(finding(told, 'cache folder').detail, 'cannot be looked at: no answer within 10 seconds');
  } finally {
    daemon.kill('SIGCONT');
    daemon.kill('SIGTERM');
    await daemon;
  }
});

test('faults of the settings are reported together with findings that need no settings', async () => {
  const told = await doctor({ IMAGEBUILDER_GUEST: 'perhaps', IMAGEBUILDER_LEASE: 'long', OS_CLOUD: '' });
  assert.equal([told.exitCode, ...faults(told)], [1, 'settings', 'settings']);
  assert.match(told.output, 'IMAGEBUILDER_GUEST must be auto, host or vm');
  assert.match(finding(told, 'user').detail, /^root/);
  const cloud = await doctor({ OS_AUTH_URL: 'http://127.0.0.1:1/', OS_USERNAME: 'somebody' });
  assert.equal([cloud.exitCode, ...new Set(faults(cloud))], [1, 'settings']);
  assert.match(cloud.output, 'OS_PASSWORD is missing');
});

test('a store that is out of reach is a fault', async () => {
  const { environment } = await folders();
  const openStack = {
    OS_AUTH_URL: 'http://127.0.0.1:1/v3',
    OS_USERNAME: 'builder',
    OS_PASSWORD: password,
    OS_PROJECT_NAME: 'builder',
    OS_DEFAULT_DOMAIN_ID: 'default',
  };
  const told = await doctor({ ...environment, ...openStack });
  assert.equal([told.exitCode, ...faults(told)], [1, 'store: Keystone'], told.output);
  assert.match(finding(told, 'store: Keystone').detail, 'the connection was refused');
  assert.not.ok(
    told.findings.some(({ what }) => what === 'store folder'),
    'images do not go there',
  );
});

test.run();
