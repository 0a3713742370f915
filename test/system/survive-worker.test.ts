import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildStep } from '#lib/api/event.ts';
import type { BuildView } from '#lib/queue/projection.ts';
import type { FunctionProcess } from '../servers/function.ts';
import { assertInOrder } from './faults/events.ts';
import { type Fleet, startFleet } from './faults/fleet.ts';
import { waitForProcess } from './faults/processes.ts';
import { assertNothingLeft, type Observation, observe } from './leaks.ts';

/** Workers and what works for them killed in the middle of builds: the build ends well all the same, and nothing is left. */

let fleet: Fleet;
let before: Observation;
let started = 0;

test.before(async () => {
  fleet = await startFleet();
  before = await observe(fleet.workDirectory);
});

test.after(async () => {
  await fleet[Symbol.asyncDispose]();
});

/** A test after which nothing may be left; uvu's own hooks would hide a failure of the test behind one of theirs. */
function scenario(name: string, body: () => Promise<void>): void {
  test(name, async () => {
    try {
      await body();
    } finally {
      fleet.gate.open();
      fleet.images.release();
      await fleet.killWorkers();
    }
    await assertNothingLeft(before);
    assert.equal(await fleet.leftFiles(), []);
  });
}

async function startWorker(): Promise<FunctionProcess> {
  started += 1;
  return await fleet.startWorker(`worker-${started}`);
}

async function kill(worker: FunctionProcess): Promise<void> {
  worker.child.kill('SIGKILL');
  await worker.exited;
}

/** Runs a build on one worker up to `fault`, and to its end on a second one. */
async function buildOver(
  packages: readonly string[],
  fault: (buildId: string, worker: FunctionProcess) => Promise<void>,
): Promise<BuildView> {
  const first = await startWorker();
  const { buildId } = await fleet.submit(fleet.request({ package_list: [...packages] }));
  await fault(buildId, first);
  await startWorker();
  const build = await fleet.ended(buildId);
  await assertEndedWell(build, 2);
  return build;
}

async function assertEndedWell({ buildId, event }: BuildView, attempt: number): Promise<void> {
  assert.is(event.state, 'completed', `${event.error?.message}\n${event.error?.log_tail?.join('\n')}`);
  assert.is(event.attempt, attempt);
  assertInOrder(await fleet.told(buildId));
}

const isIn = (step: BuildStep) => (build: BuildView) => build.event.step === step;

scenario('killed while it fetches the base image', async () => {
  fleet.images.hold();
  await buildOver(['libfoo'], async (buildId, worker) => {
    await fleet.when(
      buildId,
      ({ event }) => event.step === 'fetch' && (event.current ?? 0) > 0.4 * fleet.base.sizeBytes,
    );
    await kill(worker);
    fleet.images.release();
  });
  assert.ok(fleet.images.sentBytes < 1.2 * fleet.base.sizeBytes, 'what was fetched before is not fetched again');
});

scenario('killed while a package is being installed', async () => {
  fleet.gate.close();
  await buildOver(['slow'], async (_, worker) => {
    await fleet.gate.reached();
    await kill(worker);
    fleet.gate.open();
  });
});

scenario('killed together with its supervisor, as when a container is killed', async () => {
  fleet.gate.close();
  await buildOver(['slow'], async (_, worker) => {
    await fleet.gate.reached();
    const supervisor = await waitForProcess(fleet.workDirectory, /supervisor\.ts/);
    process.kill(supervisor, 'SIGKILL');
    await kill(worker);
    fleet.gate.open();
  });
});

scenario('killed while it packs the image', async () => {
  await buildOver(['libfoo'], async (buildId, worker) => {
    await fleet.when(buildId, isIn('repack'));
    const tool = await waitForProcess(fleet.workDirectory, /^(cp|qemu-img|qemu-io) /);
    // Held, the tool would outlive its worker for ever.
    process.kill(tool, 'SIGSTOP');
    await kill(worker);
  });
});

scenario('killed while it uploads', async () => {
  await buildOver(['libfoo'], async (buildId, worker) => {
    await fleet.when(buildId, isIn('check'));
    while (!(await fleet.leftFiles()).some((name) => name.startsWith('.incoming-'))) await sleep(2);
    await kill(worker);
    assert.ok((await fleet.leftFiles()).some((name) => name.startsWith('.incoming-')));
  });
});

scenario('the supervisor killed: the build is tried again', async () => {
  fleet.gate.close();
  await buildOver(['slow'], async () => {
    await fleet.gate.reached();
    const supervisor = await waitForProcess(fleet.workDirectory, /supervisor\.ts/);
    fleet.gate.open();
    process.kill(supervisor, 'SIGKILL');
  });
});

scenario('the storage daemon killed under the live mount: the build is tried again', async () => {
  fleet.gate.close();
  await buildOver(['slow'], async () => {
    await fleet.gate.reached();
    const daemon = await waitForProcess(fleet.workDirectory, /^qemu-storage-daemon/);
    process.kill(daemon, 'SIGKILL');
    fleet.gate.open();
  });
});

scenario('apt killed inside the image, as when memory has run out: the build is tried again', async () => {
  fleet.gate.close();
  await buildOver(['slow'], async () => {
    await fleet.gate.reached();
    process.kill(await waitForProcess(fleet.workDirectory, /^apt-get /), 'SIGKILL');
    fleet.gate.open();
  });
});

scenario('a build over which three workers have died fails, once, and its job is kept', async () => {
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    fleet.gate.close();
    const worker = await startWorker();
    await fleet.gate.reached();
    assert.is(
      (await fleet.when(buildId, (build) => build.attempt === attempt)).owner?.split('-').at(1),
      String(started),
    );
    await kill(worker);
  }
  await startWorker();
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.error?.code, event.error?.fault], ['failed', 'build.attempts_exhausted', 'service']);
  assertInOrder(await fleet.told(buildId));
  assert.equal(await fleet.deadBuilds(), [buildId]);
});

test.run();
