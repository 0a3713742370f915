import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent, BuildStep } from '#lib/api/event.ts';
import type { BuildRequestInput } from '#lib/api/request.ts';
import type { BuildView } from '#lib/queue/build.ts';
import { type Fleet, type FleetOptions, startFleet } from '../../../lab/fleet/fleet.ts';
import { assertNothingLeft, type Observation, observe } from '../../../lab/leaks.ts';
import type { FunctionProcess } from '../../../lab/servers/function.ts';
import { assertInOrder } from './events.ts';

/** The common part of the tests that break things. */

/** A test of a fleet, which may leave nothing behind. */
export type Scenario = (name: string, body: (fleet: Fleet) => Promise<void>) => void;

/** Starts one fleet before the tests of a file, and ends it after them. */
export function scenarios(options: () => Promise<FleetOptions> | FleetOptions = () => ({})): Scenario {
  let fleet: Fleet;
  let before: Observation;
  test.before(async () => {
    fleet = await startFleet(await options());
    before = await observe(fleet.workDirectory);
  });
  test.after(async () => {
    await fleet[Symbol.asyncDispose]();
  });
  return (name, body) => {
    // Not by uvu's own hooks: they would hide a failure of the test behind one of theirs.
    test(name, async () => {
      try {
        await body(fleet);
      } finally {
        fleet.timer(true);
        fleet.gate.open();
        fleet.images.release();
        await fleet.killWorkers();
      }
      const processIds = new Set([...before.processIds, ...(await fleet.brokerProcesses())]);
      await assertNothingLeft({ ...before, processIds });
      assert.equal(await fleet.leftFiles(), []);
    });
  };
}

let started = 0;

/** Starts a worker with a name of its own: `worker-1`, `worker-2`, … */
export async function startNext(fleet: Fleet, settings?: Readonly<Record<string, string>>): Promise<FunctionProcess> {
  started += 1;
  return await fleet.startWorker(`worker-${started}`, settings);
}

/** Submits a build; its id, once a script of its package waits at the closed gate. */
export async function submitHeld(fleet: Fleet, changes: Partial<BuildRequestInput> = {}): Promise<string> {
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'], ...changes }));
  await fleet.gate.reached();
  return buildId;
}

/** Kills a worker's process, and no other. */
export async function kill(worker: FunctionProcess): Promise<void> {
  worker.child.kill('SIGKILL');
  await worker.exited;
}

/** Runs a build on one worker up to `fault`, and to its end on a second one. */
export async function buildOver(
  fleet: Fleet,
  packages: readonly string[],
  fault: (buildId: string, worker: FunctionProcess) => Promise<void>,
  settings: Readonly<Record<string, string>> = {},
  settingsOfSecond: Readonly<Record<string, string>> = {},
): Promise<BuildView> {
  const first = await startNext(fleet, settings);
  const { buildId } = await fleet.submit(fleet.request({ package_list: [...packages] }));
  await fault(buildId, first);
  await startNext(fleet, settingsOfSecond);
  const build = await fleet.ended(buildId);
  await assertEndedWell(fleet, build, 2);
  return build;
}

export async function assertEndedWell(fleet: Fleet, { buildId, event }: BuildView, attempt: number): Promise<void> {
  assertCompleted(event, attempt);
  assertInOrder(await fleet.notifications(buildId));
}

export function assertCompleted(event: BuildEvent, attempt: number): void {
  assert.is(event.state, 'completed', `${event.error?.message}\n${event.error?.log_tail?.join('\n')}`);
  assert.is(event.attempt, attempt);
}

export const isIn = (step: BuildStep) => (build: BuildView) => build.event.step === step;

/** Settings of a worker that waits at the gate when it is about to touch a file whose path matches (hold.ts). */
export function holdAt(fleet: Fleet, path: RegExp): Record<string, string> {
  return {
    ...withHold,
    HOLD_AT: path.source,
    HOLD_PORT: String(fleet.gate.port),
  };
}

/** Settings of a worker for which a program stops itself as soon as it has been started, until it is killed. */
export function stopProgram(name: string): Record<string, string> {
  return { ...withHold, STOPPED_PROGRAM: name };
}

const withHold = { NODE_OPTIONS: `--import=${import.meta.resolve('./hold.ts')}` };
