import type { BuildEvent } from '../api/event.ts';
import type { Log } from '../log.ts';
import type { BuildJob } from '../queue/job.ts';
import type { TakenJob } from '../queue/jobs.ts';
import { parseTraceContext } from '../trace-context.ts';
import { type AttemptOptions, runAttempt } from './attempt.ts';
import { type DecisionSettings, decide, type JobDecision } from './decide.ts';
import { endLostBuilds } from './end-lost.ts';
import { createLostBuilds, handMs } from './lost-builds.ts';
import { deliverCallback } from './notify.ts';
import type { Others } from './others.ts';

/** The life of jobs on one worker: take, decide, build; until there is nothing left to do. */

export interface WorkerOptions extends AttemptOptions {
  readonly settings: AttemptOptions['settings'] & DecisionSettings;
  /** Looks whether builds can run here. While it answers false, no job is taken. Default: they can. */
  readonly able?: () => Promise<boolean>;
  /** Wakes other workers while this one builds; undefined where no wake is lost. */
  readonly others?: Others | undefined;
  /** Longest time that a worker has a job in its hands. Default 90 seconds. */
  readonly heldMs?: number;
}

export interface BuildSummary {
  readonly build_id: string;
  readonly ticket_id: string | number;
  /** `queued` for a build that was handed back, `running` for one that another worker has claimed. */
  readonly state: BuildEvent['state'];
}

export interface Worker {
  /**
   * Takes and builds jobs, one at a time, until the queue is empty, `stopping` is aborted, or less than a build's time
   * limit is left before `deadline` (milliseconds since the epoch); none while it is not able to build. Callbacks are delivered after that as well. May run
   * several times at once. Throws `broker.unreachable`.
   */
  takeBuilds(limits: { readonly stopping: AbortSignal; readonly deadline: number }): Promise<BuildSummary[]>;
}

/** Longest time between the job, which `build-image` puts into the queue, and the first event. */
const appearancePatienceMs = 8_000;

/** Creates a worker; its `takeBuilds` calls share the set of builds being built. */
export function createWorker(options: WorkerOptions): Worker {
  const { broker, settings } = options;
  const inWork = new Set<string>();
  const lostBuilds = createLostBuilds(settings.leaseMs, options.heldMs ?? handMs);

  return {
    async takeBuilds({ stopping, deadline }) {
      const summaries: BuildSummary[] = [];
      await broker.ledger.ready();
      while (!stopping.aborted && Date.now() + settings.buildTimeoutMs <= deadline) {
        if (options.able !== undefined && !(await options.able())) break;
        const taken = await takeJob();
        if (taken === null) {
          const isInWork = (buildId: string) => inWork.has(buildId);
          await endLostBuilds({ ...options, leaseMs: settings.leaseMs, lostBuilds, isInWork });
          break;
        }
        const { job } = taken;
        const decision = await decideAndLease(taken);
        const log = options.log.with({ build_id: job.build_id, ticket_id: job.request.ticket_id });
        const state = await carryOut(decision, job, stopping, log);
        if (state !== null) summaries.push({ build_id: job.build_id, ticket_id: job.request.ticket_id, state });
      }
      return summaries;
    },
  };

  /** The next job, also one that RabbitMQ has dropped from the queue. */
  async function takeJob(): Promise<TakenJob | null> {
    const taken = await broker.jobs.take();
    return taken === null && (await broker.jobs.revive()) > 0 ? await broker.jobs.take() : taken;
  }

  /**
   * Drops the job where nothing is left to do, and leases it otherwise. A job to be claimed counts as being built from
   * then on.
   */
  async function decideAndLease(taken: TakenJob): Promise<JobDecision> {
    const { job } = taken;
    try {
      await broker.ledger.sync();
      if (!broker.ledger.isOver(job.build_id)) {
        await broker.ledger.when(job.build_id, () => true, appearancePatienceMs);
      }
      if (decideNow(job).do === 'drop') {
        await taken.drop();
        return { do: 'drop' };
      }
      await taken.lease();
    } catch (error) {
      // A job neither acknowledged nor given back would stay with this process for RabbitMQ's consumer_timeout.
      await taken.release().catch(() => undefined);
      throw error;
    }
    const decision = decideNow(job);
    if (decision.do === 'claim') inWork.add(job.build_id);
    return decision;
  }

  function decideNow(job: BuildJob): JobDecision {
    const build = broker.ledger.get(job.build_id);
    const situation = {
      ...{ job, build, over: broker.ledger.isOver(job.build_id), inWork: inWork.has(job.build_id) },
      quietMs: broker.ledger.quietMs(job.build_id),
      nowMs: Date.now(),
    };
    return decide(situation, settings);
  }

  /** Resolves with the state of a build that this worker has worked on, else null. */
  async function carryOut(
    decision: JobDecision,
    job: BuildJob,
    stopping: AbortSignal,
    log: Log,
  ): Promise<BuildEvent['state'] | null> {
    if (decision.do === 'notify') {
      const { event } = broker.ledger.get(job.build_id) ?? {};
      if (event !== undefined && decision.exchange) await broker.notifyEnd(event);
      if (event !== undefined && decision.callback) {
        deliverCallback(job, event, parseTraceContext(job.trace ?? {}), options.deliveries);
      }
    }
    if (decision.do !== 'claim') return null;
    using _others = options.others?.wakeMeanwhile();
    try {
      return await runAttempt(job, decision, stopping, { ...options, log });
    } finally {
      inWork.delete(job.build_id);
    }
  }
}
