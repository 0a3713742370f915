import { setTimeout as sleep } from 'node:timers/promises';
import type { BuildEvent, ImageResult } from '../api/event.ts';
import { type BuildRequest, parseBuildRequest } from '../api/request.ts';
import { type ErrorCode, ImageBuilderError, toImageBuilderError } from '../errors.ts';
import { imageKinds } from '../kinds/index.ts';
import type { Log } from '../log.ts';
import type { BuildContext } from '../pipeline/context.ts';
import type { Broker } from '../queue/broker.ts';
import type { BuildJob } from '../queue/job.ts';
import type { TakenJob } from '../queue/jobs.ts';
import type { BuildView } from '../queue/projection.ts';
import type { CancelUrlOptions } from './cancellation.ts';
import type { Deliveries } from './deliveries.ts';
import { lostOwnership, watchInterruptions } from './interruption.ts';
import { type Outcome, type Reporter, startReporter } from './reporter.ts';

/** The life of jobs on one worker: take, claim, build, tell how it ended; until there is nothing left to do. */

export interface WorkerOptions {
  /** Unlike that of any other worker process. */
  readonly name: string;
  readonly broker: Broker;
  readonly runBuild: (
    build: { readonly buildId: string; readonly request: BuildRequest },
    context: BuildContext,
  ) => Promise<ImageResult>;
  readonly getJson: CancelUrlOptions['getJson'];
  /** Delivers callbacks while the worker goes on. */
  readonly deliveries: Pick<Deliveries, 'add'>;
  /** Removes from the store what attempts at a build that has failed left there. */
  readonly discard: (buildId: string) => Promise<void>;
  /** Asks for a worker to be woken, for a job that this one has put back. Must neither throw nor take long. */
  readonly wake: () => void;
  readonly settings: {
    readonly heartbeatMs: number;
    readonly leaseMs: number;
    readonly maximumAttempts: number;
    readonly buildTimeoutMs: number;
    readonly cancelPollMs: number;
    readonly callbackTimeoutMs: number;
  };
  readonly log: Log;
}

export interface BuildSummary {
  readonly build_id: string;
  readonly ticket_id: string | number;
  /** `queued` for a build that was handed back, `running` for one that another worker has taken over. */
  readonly state: BuildEvent['state'];
}

export interface Worker {
  /**
   * Takes and builds jobs, one at a time, until the queue is empty, `stopping` is aborted, or less than a build's time
   * limit is left before `deadline` (milliseconds since the epoch). Callbacks are delivered after that as well. May run
   * several times at once. Throws `broker.unreachable`.
   */
  takeBuilds(limits: { readonly stopping: AbortSignal; readonly deadline: number }): Promise<BuildSummary[]>;
}

/** A submission has put its job in the queue and is about to tell of it: so long that may take. */
const appearancePatienceMs = 8_000;
/** For what a worker that is told to stop still has to say. */
const stoppingPatienceMs = 4_000;
/** How long after a build's end its caller is still told of it, where nobody could so far. */
const tellForMs = 15 * 60_000;

/** A build that this worker has claimed. */
interface Claimed {
  readonly job: BuildJob;
  readonly attempt: number;
  readonly reporter: Reporter;
  readonly stopping: AbortSignal;
  readonly log: Log;
}

/** Creates a worker; what is in work is shared by all its `takeBuilds` calls. */
export function createWorker(options: WorkerOptions): Worker {
  const { broker, settings, name } = options;
  const inWork = new Set<string>();

  return {
    async takeBuilds({ stopping, deadline }) {
      const summaries: BuildSummary[] = [];
      await broker.projection.ready();
      while (!stopping.aborted && Date.now() + settings.buildTimeoutMs <= deadline) {
        const taken = await broker.jobs.take();
        if (taken === null) break;
        const summary = await consider(taken, stopping);
        if (summary !== null) summaries.push(summary);
      }
      return summaries;
    },
  };

  /** Decides what to do with a job that came off the queue: it may be new, or the copy of a lease that ran out. */
  async function consider(taken: TakenJob, stopping: AbortSignal): Promise<BuildSummary | null> {
    const { job } = taken;
    const log = options.log.with({ build_id: job.build_id, ticket_id: job.request.ticket_id });
    let known: BuildView | undefined;
    try {
      await broker.projection.sync();
      if (!broker.projection.isOver(job.build_id)) {
        await broker.projection.when(job.build_id, () => true, appearancePatienceMs);
      }
      known = broker.projection.get(job.build_id);
      if (broker.projection.isOver(job.build_id) && (known === undefined || !mustBeTold(job, known))) {
        await taken.drop();
        return null;
      }
      await taken.lease();
    } catch (error) {
      // Neither acknowledged nor given back, it would stay with this process for RabbitMQ's consumer_timeout.
      await taken.release().catch(() => undefined);
      throw error;
    }
    if (known !== undefined && broker.projection.isOver(job.build_id)) {
      await tellAgain(job, known);
      return null;
    }
    if (inWork.has(job.build_id) || isAlive(known)) return null;
    inWork.add(job.build_id);
    try {
      return await claimAndBuild(job, known, stopping, log);
    } finally {
      inWork.delete(job.build_id);
    }
  }

  /** True while some worker has the build and has not been quiet for a lease. */
  function isAlive(build: BuildView | undefined): boolean {
    return build !== undefined && build.owner !== null && broker.projection.quietMs(build.buildId) < settings.leaseMs;
  }

  /** True for a build whose end its caller has not been told of, as far as anybody knows. */
  function mustBeTold(job: BuildJob, { finishedAt, told }: BuildView): boolean {
    if (finishedAt === null || Date.now() - Date.parse(finishedAt) > tellForMs) return false;
    return !told.includes('progress_trigger') || (job.callback !== null && !told.includes('callback'));
  }

  /** Whoever ended the build could not tell its caller so, or died over it. While it may still try, nothing is done. */
  async function tellAgain(job: BuildJob, build: BuildView): Promise<void> {
    const sinceMs = Date.now() - Date.parse(build.finishedAt ?? '');
    if (!build.told.includes('progress_trigger') && sinceMs > settings.leaseMs) await broker.tellEnd(build.event);
    if (!build.told.includes('callback') && sinceMs > settings.leaseMs + settings.callbackTimeoutMs) {
      callBack(job, build.event);
    }
  }

  async function claimAndBuild(
    job: BuildJob,
    known: BuildView | undefined,
    stopping: AbortSignal,
    log: Log,
  ): Promise<BuildSummary | null> {
    const attempt = (known?.attempt ?? 0) + 1;
    const sequence = (known?.sequence ?? 0) + 1;
    const verdict = await broker.claim(job, { worker: name, attempt, sequence });
    if (verdict !== 'won') {
      log.info('build not taken', { reason: verdict });
      return null;
    }
    log.info('build taken', { attempt });
    await using reporter = startReporter({
      identity: {
        build_id: job.build_id,
        ticket_id: job.request.ticket_id,
        progress_trigger: job.request.progress_trigger,
        attempt,
        worker: name,
      },
      steps: imageKinds[job.request.base_image.image_type].steps,
      firstSequence: sequence + 1,
      publish: (event) => publish(job, event, stopping, log),
      heartbeatMs: settings.heartbeatMs,
    });
    const claimed = { job, attempt, reporter, stopping, log };
    const lost = attempt - 1 - (known?.handBacks ?? 0);
    if (lost >= settings.maximumAttempts) {
      const error = new ImageBuilderError(
        'build.attempts_exhausted',
        `${lost} workers were lost while they worked on this build; its job is kept in the queue imagebuilder.dead`,
      );
      await broker.jobs.bury(job);
      return await finish(claimed, { state: 'failed', error });
    }
    const outcome = await attemptBuild(claimed);
    if (outcome === 'lost') return summary(job, 'running');
    if (outcome === 'stopping') return await handBack(claimed, `${name} stops; another worker takes the build`);
    if (outcome.state === 'failed' && outcome.error.code === 'guest.failed') {
      // Not the build's fault but this machine's: it counts as a worker that was lost.
      if (lost + 1 < settings.maximumAttempts) {
        return await handBack(claimed, `${outcome.error.message}; the build is started again`, outcome.error);
      }
      await broker.jobs.bury(job);
    }
    return await finish(claimed, outcome);
  }

  /** Gives a build to another attempt at once. Where RabbitMQ cannot be told, its lease does so later. */
  async function handBack({ job, reporter, log }: Claimed, message: string, error?: ImageBuilderError) {
    // The event first: whoever takes the job must see that nobody works on it any more.
    if (await reporter.handBack(message, error)) {
      await broker.jobs.handBack(job);
      options.wake();
      log.info('build handed back');
    }
    return summary(job, 'queued');
  }

  /** Runs the build under everything that may end it early. */
  async function attemptBuild({
    job,
    attempt,
    reporter,
    stopping,
    log,
  }: Claimed): Promise<Outcome | 'stopping' | 'lost'> {
    await using interruption = watchInterruptions({
      buildId: job.build_id,
      worker: name,
      attempt,
      projection: broker.projection,
      cancelUrl: job.request.cancel_url ?? null,
      getJson: options.getJson,
      cancelPollMs: settings.cancelPollMs,
      timeoutMs: settings.buildTimeoutMs,
      stopping,
      log,
    });
    const { signal } = interruption;
    try {
      signal.throwIfAborted();
      const request = parseBuildRequest(job.request);
      const image = await options.runBuild({ buildId: job.build_id, request }, { signal, reporter, log });
      return { state: 'completed', image };
    } catch (thrown) {
      // What fails while a build is being ended is a consequence; the reason of the end is the cause.
      const error = toImageBuilderError(signal.aborted ? signal.reason : thrown);
      if (error === lostOwnership) return 'lost';
      if (error.code === 'worker.stopping') return 'stopping';
      if (error.code === 'build.cancelled') return { state: 'cancelled', error };
      log.warn('build failed', { code: error.code, step: reporter.step, error });
      return { state: 'failed', error: stoppedCodes.includes(error.code) ? withPlace(error, reporter) : error };
    }
  }

  async function finish(claimed: Claimed, outcome: Outcome): Promise<BuildSummary> {
    const { job, attempt, reporter, log } = claimed;
    if (outcome.state !== 'completed' && attempt > 1) {
      await options.discard(job.build_id).catch((error: unknown) => {
        log.warn('what earlier attempts left in the store cannot be removed', { error });
      });
    }
    const { event, counted } = await reporter.end(outcome);
    if (!counted) return summary(job, 'running');
    const durationSeconds = (Date.now() - Date.parse(job.submitted_at)) / 1000;
    log.info('build ended', { state: event.state, code: event.error?.code, duration_seconds: durationSeconds });
    callBack(job, event);
    return summary(job, event.state);
  }

  /** Has the end delivered to the callback of the job, where it has one. Nobody waits for that. */
  function callBack(job: BuildJob, event: BuildEvent): void {
    if (job.callback === null) return;
    options.deliveries.add({
      callback: { url: job.callback.url, callId: job.callback.call_id },
      event,
      durationSeconds: (Date.parse(event.time) - Date.parse(job.submitted_at)) / 1000,
    });
  }

  /**
   * Progress that cannot be told is dropped. How a build ended, or that it goes back, is told as soon as it can be; a
   * worker that stops does not wait for that: the lease brings the job to another one, which finds the image.
   */
  async function publish(
    { submission }: BuildJob,
    event: BuildEvent,
    stopping: AbortSignal,
    log: Log,
  ): Promise<boolean> {
    for (;;) {
      try {
        const patienceMs = stopping.aborted ? stoppingPatienceMs : undefined;
        return (await broker.publishEvent(event, { submission, patienceMs })) === 'applied';
      } catch (error) {
        log.warn('event not sent', { state: event.state, sequence: event.sequence, error });
        if (event.state === 'running' || stopping.aborted) return false;
        await sleep(1_000);
      }
    }
  }
}

/** What ends a build from outside, and so does not say by itself what the build was at. */
const stoppedCodes: readonly ErrorCode[] = ['build.timeout', 'guest.limit'];

function withPlace(error: ImageBuilderError, { step, doing }: Reporter): ImageBuilderError {
  const { code, message, logTail } = error;
  const place = step === null ? doing : `${step}: ${doing}`;
  return new ImageBuilderError(code, `${message}; it was at "${place}"`, { cause: error, logTail });
}

function summary(job: BuildJob, state: BuildEvent['state']): BuildSummary {
  return { build_id: job.build_id, ticket_id: job.request.ticket_id, state };
}
