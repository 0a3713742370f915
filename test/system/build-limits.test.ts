import { mkdir, mkdtemp, readdir, readFile, rm, rmdir, statfs } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import type { BuildView } from '#lib/queue/build.ts';
import { type Fleet, startFleet } from '../../lab/fleet/fleet.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { call, type FunctionProcess } from '../../lab/servers/function.ts';
import { listen } from '../../lab/servers/listen.ts';
import { whenLong } from '../runner/long.ts';
import { smallImage } from './faults/small-image.ts';

/** Builds that go beyond a limit, through the whole service: each ends with a clear error, and the worker goes on. */

const MiB = 2 ** 20;
let fleet: Fleet;
/** A file system of its own for the work folders of some workers. */
let disk: string;
const diskMiB = 1400;

test.before(async () => {
  fleet = await startFleet({
    base: await smallImage(),
    packages: () => [
      { name: 'forks', scripts: { postinst: 'bomb() { bomb | bomb & }\nbomb\nsleep 600' } },
      { name: 'devours', scripts: { postinst: 'x=0123456789abcdef\nwhile :; do x="$x$x"; done' } },
      { name: 'babbles', scripts: { postinst: 'yes "there is nothing to say, and it is said again and again"' } },
      { name: 'murmurs', scripts: { postinst: 'cat /dev/zero' } },
      // A few hundred kilobytes as they are downloaded, and more than the disk of the image holds.
      { name: 'explodes', files: { '/usr/share/explodes/zeros': Buffer.alloc(400 * MiB) } },
      { name: 'vast', fields: { 'Installed-Size': '90000000' } },
      { name: 'hangs', scripts: { postinst: 'sleep 600' } },
      { name: 'needs-libfoo', fields: { Depends: 'libfoo' } },
      { name: 'writes', scripts: { postinst: 'dd if=/dev/urandom of=/usr/share/filler bs=1M count=100' } },
    ],
  });
  disk = await mkdtemp(join(tmpdir(), 'imagebuilder-disk-'));
  await exec('mount', ['-t', 'tmpfs', '-o', `size=${diskMiB}M`, 'tmpfs', disk]);
});

test.after(async () => {
  await fleet.killWorkers();
  await exec('umount', [disk]);
  await rmdir(disk);
  await fleet[Symbol.asyncDispose]();
});

type Settings = Readonly<Record<string, string>>;

/** A test with a worker of its own, after which nothing of it may be left. */
function scenario(
  name: string,
  given: Settings | (() => Settings),
  body: (worker: FunctionProcess) => Promise<void>,
): void {
  test(name, async () => {
    const settings = typeof given === 'function' ? given() : given;
    const workDirectory = settings.IMAGEBUILDER_WORK_DIRECTORY ?? fleet.workDirectory;
    await mkdir(workDirectory, { recursive: true });
    const before = await observe(workDirectory);
    try {
      await body(await fleet.startWorker('worker', settings));
    } finally {
      fleet.gate.open();
      await fleet.killWorkers();
    }
    await assertNothingLeft(before, { emptyFolders: [workDirectory] });
    assert.equal(await fleet.leftFiles(), []);
  });
}

const long = whenLong(scenario);

async function submit(packages: readonly string[]): Promise<string> {
  return (await fleet.submit(fleet.request({ package_list: [...packages] }))).buildId;
}

async function build(...packages: readonly string[]): Promise<BuildView> {
  return await fleet.ended(await submit(packages));
}

function assertFailed({ event }: BuildView, code: string, fault: string, message: RegExp): void {
  assert.equal([event.state, event.error?.code, event.error?.fault], ['failed', code, fault], event.message);
  assert.match(event.error?.message ?? '', message);
  assert.is(event.attempt, 1);
}

async function assertBuilds(): Promise<void> {
  const { event } = await build('libfoo');
  assert.is(event.state, 'completed', event.message);
}

const small = { IMAGEBUILDER_GUEST_MEMORY: '256M', IMAGEBUILDER_GUEST_PROCESSES: '128' };

scenario('a fork bomb in a package ends its build, another one beside it goes on', small, async (worker) => {
  fleet.gate.close();
  const beside = await submit(['slow']);
  await fleet.gate.reached();
  const bomb = await submit(['forks']);
  // The worker takes it beside the other one.
  const waking = call(worker.address, '/', { method: 'POST', body: '' });
  const failed = await fleet.ended(bomb);
  assertFailed(failed, 'guest.limit', 'request', /more processes than the 128 that .*; it was at "install: .*forks/);
  fleet.gate.open();
  const { event } = await fleet.ended(beside);
  assert.is(event.state, 'completed', event.message);
  await waking;
});

scenario('a package that takes all the memory ends its build, and the worker goes on', small, async () => {
  const failed = await build('devours');
  assertFailed(failed, 'guest.limit', 'request', /more memory than the 256 MiB that .*; it was at "install: .*devours/);
  await assertBuilds();
});

const quiet = { IMAGEBUILDER_MAXIMUM_LOG: '8M' };

scenario('a package that writes without end is stopped, and fills neither memory nor events', quiet, async (worker) => {
  const peak = async () =>
    Number(/VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${worker.child.pid}/status`, 'utf8'))?.[1]);
  await assertBuilds();
  const usual = await peak();
  const failed = await build('babbles');
  assertFailed(failed, 'guest.limit', 'request', /more than 8\.0 MiB of output.*; it was at "install: .*babbles/);
  const events = await fleet.notifications(failed.buildId);
  const lengths = events.map((event) => JSON.stringify(event).length);
  assert.ok(Math.max(...lengths) < 100_000, `an event of ${Math.max(...lengths)} characters`);
  assert.ok(events.length < 200, `${events.length} events`);
  assert.ok(events.some(({ log }) => log?.some((line) => /^\(\d+ lines left out\)$/.test(line))));
  assert.ok((await peak()) < usual + 200 * 1024, 'the output is not kept in memory');
});

long('output without a single newline is stopped as well', quiet, async () => {
  assertFailed(await build('murmurs'), 'guest.limit', 'request', /more than 8\.0 MiB of output/);
});

scenario(
  'more packages than are allowed are refused before any is downloaded',
  { IMAGEBUILDER_MAXIMUM_PACKAGES: '1' },
  async () => {
    await assertBuilds();
    const requests = fleet.launchpad.requests.length;
    const message =
      /^2 packages would be installed or upgraded, dependencies included; IMAGEBUILDER_MAXIMUM_PACKAGES allows 1/;
    assertFailed(await build('needs-libfoo'), 'guest.limit', 'request', message);
    assert.not.ok(fleet.launchpad.requests.slice(requests).some(({ path }) => path.endsWith('.deb')));
  },
);

scenario(
  'packages that need more room than the image has are refused by their sizes before any is unpacked',
  {},
  async () => {
    const sizes =
      /^the packages need 85\.\d GiB, and the image has \d+\.\d MiB left \(\/: \d+\.\d MiB of \d+\.\d MiB free/;
    const ended = await build('vast');
    assertFailed(ended, 'image.full', 'request', sizes);
    assert.not.match(JSON.stringify(ended), 'Unpacking vast');
  },
);

long('a package that unpacks to more than the image holds ends its build, and the worker goes on', {}, async () => {
  const sizes = /take a base image with one \(\/: .* of \d+\.\d MiB free/;
  assertFailed(await build('explodes'), 'image.full', 'request', sizes);
  await assertBuilds();
});

test('a package whose script hangs ends with the time limit, which names step and package', async () => {
  const before = await observe(fleet.workDirectory);
  // How long the way to the script takes depends on the machine.
  for (const seconds of [15, 60, 240]) {
    await fleet.startWorker('worker', { IMAGEBUILDER_BUILD_TIMEOUT: String(seconds) });
    const failed = await build('hangs');
    await fleet.killWorkers();
    await assertNothingLeft(before, { emptyFolders: [fleet.workDirectory] });
    if (!/at "install: .*hangs/.test(failed.event.message) && seconds < 240) continue;
    assertFailed(
      failed,
      'build.timeout',
      'service',
      /longer than its limit of \d+ seconds; it was at "install: .*hangs/,
    );
    break;
  }
});

scenario(
  'beyond max_inflight a worker answers 429, and a build waits for its turn',
  { max_inflight: '1' },
  async (worker) => {
    fleet.gate.close();
    const first = await submit(['slow']);
    await fleet.gate.reached();
    const second = await submit(['libfoo']);
    assert.is((await call(worker.address, '/', { method: 'POST', body: '' })).status, 429);
    await fleet.when(second, ({ state }) => state === 'queued');
    assert.is(fleet.broker.ledger.get(second)?.state, 'queued');
    fleet.gate.open();
    const [one, other] = [await fleet.ended(first), await fleet.ended(second)];
    assert.equal([one.state, other.state], ['completed', 'completed']);
    assert.ok(Date.parse(other.event.time) > Date.parse(one.event.time));
  },
);

long('a receiver of callbacks that never answers keeps no build waiting', { max_inflight: '1' }, async (worker) => {
  const called = Promise.withResolvers<void>();
  await using receiver = await listen(createServer(() => called.resolve()));
  const request = fleet.request({ callback_url: `${receiver.url}/` });
  const { buildId } = await fleet.submit(request);
  await called.promise;
  await assertBuilds();
  assert.not(fleet.broker.ledger.get(buildId)?.notified.includes('callback'));
  worker.child.kill('SIGTERM');
  assert.is(await worker.exited, 0);
  assert.not(fleet.broker.ledger.get(buildId)?.notified.includes('callback'), 'another worker goes on');
});

const onDisk = (reserve: string) => () => ({
  IMAGEBUILDER_DISK_RESERVE: reserve,
  IMAGEBUILDER_WORK_DIRECTORY: join(disk, 'work'),
});

/** Fills the file system of the work folders until only so much is left. */
async function fillDisk(leftMiB: number): Promise<AsyncDisposable> {
  // Changes of the image that the kernel still holds in memory take their room on this disk only when they are written.
  await exec('sync', []);
  const { bavail, bsize } = await statfs(disk);
  const path = join(disk, 'filler');
  await exec('fallocate', ['-l', String(bavail * bsize - leftMiB * MiB), path]);
  return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
}

const cold = () => ({ ...onDisk('100M')(), IMAGEBUILDER_CACHE_DIRECTORY: join(fleet.directory, 'cold') });

scenario('a disk without room for a build is reported before anything is downloaded', cold, async () => {
  {
    await using _ = await fillDisk(500);
    const failed = await build('libfoo');
    assertFailed(failed, 'disk.full', 'service', /needs about .* in .*\/work, where (49\d|500)\.\d MiB are free/);
    for (const folder of ['blobs', 'parts']) {
      assert.equal(await readdir(join(fleet.directory, 'cold', 'images', folder)), []);
    }
  }
  await assertBuilds();
});

long(
  'a disk that is too small for the image at any time is reported as that',
  onDisk(`${diskMiB - 100}M`),
  async () => {
    assertFailed(await build('libfoo'), 'disk.small', 'service', /this disk is too small for the image/);
  },
);

scenario('a build is stopped when the disk runs low under it, before it is full', onDisk('200M'), async () => {
  fleet.gate.close();
  const buildId = await submit(['slow']);
  await fleet.gate.reached();
  {
    await using _ = await fillDisk(50);
    const failed = await fleet.ended(buildId);
    assertFailed(failed, 'disk.full', 'service', /stopped before the disk was full: .*\/work has only [45]\d\.\d MiB/);
  }
  fleet.gate.open();
  await assertBuilds();
});

scenario(
  'a disk that is full all the same is reported as that, and not as a failure of the package',
  onDisk('0'),
  async () => {
    fleet.gate.close();
    const buildId = await submit(['slow', 'writes']);
    await fleet.gate.reached();
    {
      await using _ = await fillDisk(20);
      fleet.gate.open();
      const failed = await fleet.ended(buildId);
      assertFailed(failed, 'disk.full', 'service', /at the least there were free: .* in .*\/work/);
    }
    await assertBuilds();
  },
);

test.run();
