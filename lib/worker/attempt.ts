import type { BuildEvent } from '../api/event.ts';
import { type BuildRequest, type ImageType, parseBuildRequest } from '../api/request.ts';
import { sleep } from '../async.ts';
import { type ImageBuilderError, toImageBuilderError } from '../errors.ts';
import { imageKinds } from '../kinds/index.ts';
import type { AttemptLog } from '../pipeline/attempt-log.ts';
import type { BuildContext, EndedStep } from '../pipeline/context.ts';
import type { BuildResult } from '../pipeline/result.ts';
import type { Broker } from '../queue/broker.ts';
import type { BuildJob } from '../queue/job.ts';
import type { Span, SpanError, Tracer } from '../trace/span.ts';
import { silentTracer } from '../trace/tracer.ts';
import { parseTraceContext, type TraceContext, traceFields } from '../trace-context.ts';
import type { CancelUrlOptions } from './cancellation.ts';
import { type AttemptDecision, exhaustion, type JobDecision, outcomeOf } from './decide.ts';
import type { Deliveries } from './deliveries.ts';
import { watchInterruptions } from './interruption.ts';
import { deliverCallback } from './notify.ts';
import { type Outcome, type Reporter, startReporter } from './reporter.ts';
import { keepWholeLog, openWholeLog, type WholeLogOptions } from './whole-log.ts';

export interface AttemptOptions extends WholeLogOptions {
  /** Name of the worker, unique among worker processes. */
  readonly name: string;
  readonly broker: Broker;
  readonly runBuild: (
    build: { readonly buildId: string; readonly request: BuildRequest; readonly caller: string | null },
    context: BuildContext,
  ) => Promise<BuildResult>;
  readonly getJson: CancelUrlOptions['getJson'];
  /** Records attempts and their steps. Default: nowhere. */
  readonly tracer?: Tracer;
  /** Delivers callbacks while the worker goes on. */
  readonly deliveries: Pick<Deliveries, 'add'>;
  /** Removes leftovers of attempts at a failed build from the store. */
  readonly discard: (buildId: string, imageType: ImageType) => Promise<void>;
  /** Wakes a worker, for a job that this one has put back. Must neither throw nor take long. */
  readonly wake: () => void;
  /** Called when an event of this worker has ended a build; must not throw. */
  readonly onEnd?: (imageType: string, state: BuildEvent['state'], error: BuildEvent['error']) => void;
  /** Called for an attempt that was lost: that of a dead worker, or one whose guest is gone. Must not throw. */
  readonly onLoss?: (cause: 'worker' | 'guest') => void;
  readonly settings: {
    readonly heartbeatMs: number;
    readonly maximumAttempts: number;
    readonly buildTimeoutMs: number;
    readonly cancelPollMs: number;
  };
}

/** A build that this worker has claimed. */
interface Claimed {
  readonly job: BuildJob;
  readonly attempt: number;
  readonly reporter: Reporter;
  /** Null where it cannot be opened. */
  readonly wholeLog: AttemptLog | null;
  readonly span: Span;
  readonly stopping: AbortSignal;
}

/** Limit for the last event of a build when the worker is stopping. */
const stoppingPatienceMs = 4_000;

/**
 * Claims a build, builds it and reports its end. Resolves with the state of the build after this attempt: `queued`
 * where it was handed back, `running` where another worker has claimed it; null where this worker could not claim it.
 */
export async function runAttempt(
  job: BuildJob,
  claim: JobDecision & { readonly do: 'claim' },
  stopping: AbortSignal,
  workerOptions: AttemptOptions,
): Promise<BuildEvent['state'] | null> {
  const span = startSpan(job, claim.attempt, workerOptions);
  const trace = span.context;
  const log = workerOptions.log.with(traceFields(trace));
  const options = { ...workerOptions, log };
  const { broker, name, settings } = options;
  const { attempt, sequence, losses } = claim;
  const former = broker.ledger.get(job.build_id)?.owner ?? null;
  const verdict = await broker.claim(job, { worker: name, attempt, sequence, trace });
  if (verdict !== 'won') {
    log.info('build not taken', { reason: verdict });
    return null;
  }
  log.info('build taken', { attempt });
  if (former !== null) options.onLoss?.('worker');
  let isHandedBack = false;
  // Last of all: the wake may come back to this worker, which would refuse it while the attempt still ends.
  using _wake = { [Symbol.dispose]: () => isHandedBack && options.wake() };
  let end: { readonly state: string; readonly error: SpanError | null } = { state: 'running', error: null };
  using _span = { [Symbol.dispose]: () => span.end(end.error, { 'imagebuilder.build.state': end.state }) };
  await using wholeLog = await openWholeLog(job, attempt, stopping, options);
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
    publish: (event) => publish(job, event, { trace, stopping }, options),
    onLine: (line, step) => wholeLog?.add(line, step),
    heartbeatMs: settings.heartbeatMs,
  });
  const claimed = { job, attempt, reporter, wholeLog, span, stopping };
  const exhausted = exhaustion(losses, settings.maximumAttempts);
  const decision: AttemptDecision =
    exhausted === null
      ? await build(claimed, losses, options)
      : { do: 'finish', outcome: { state: 'failed', error: exhausted }, bury: true };
  switch (decision.do) {
    case 'forget':
      return 'running';
    case 'hand back':
      end = { state: 'queued', error: decision.error ?? null };
      isHandedBack = await handBack(claimed, decision.message, decision.error, options);
      return 'queued';
    case 'finish':
      end = { state: decision.outcome.state, error: errorOf(decision.outcome) };
      if (decision.bury) await broker.jobs.bury(job);
      return await finish(claimed, decision.outcome, options);
  }
}

function startSpan(job: BuildJob, attempt: number, { name, tracer = silentTracer }: AttemptOptions): Span {
  const { image_type, series } = job.request.base_image;
  return tracer.start('build attempt', 'consumer', parseTraceContext(job.trace ?? {}), {
    'imagebuilder.build.id': job.build_id,
    'imagebuilder.build.attempt': attempt,
    'imagebuilder.ticket.id': String(job.request.ticket_id),
    'imagebuilder.worker': name,
    'imagebuilder.image.type': image_type,
    'imagebuilder.image.series': series,
  });
}

function errorOf(outcome: Outcome): SpanError | null {
  return outcome.state === 'completed' ? null : outcome.error;
}

/** Runs the build under all signals that may end it early. */
async function build(claimed: Claimed, losses: number, options: AttemptOptions): Promise<AttemptDecision> {
  const { job, attempt, reporter, span, stopping } = claimed;
  const { broker, name, settings, log } = options;
  await using interruption = watchInterruptions({
    buildId: job.build_id,
    worker: name,
    attempt,
    ledger: broker.ledger,
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
    const build = { buildId: job.build_id, request, caller: job.submission?.caller ?? null };
    const onStepEnd = ({ step, startedAt, endedAt, error }: EndedStep) => span.part(step, startedAt, endedAt, error);
    const result = await options.runBuild(build, { signal, reporter, log, onStepEnd });
    return { do: 'finish', outcome: { state: 'completed', ...result }, bury: false };
  } catch (thrown) {
    // An error while a build is being ended is a consequence; the reason of the end is the cause.
    const error = toImageBuilderError(signal.aborted ? signal.reason : thrown);
    if (error.code === 'guest.failed') options.onLoss?.('guest');
    const { step, doing } = reporter;
    const place = step === null ? doing : `${step}: ${doing}`;
    const decision = outcomeOf(error, { losses, worker: name, place }, settings);
    if (decision.do === 'hand back' ? decision.error !== undefined : isFailure(decision)) {
      log.warn('build failed', { code: error.code, step, error });
    }
    return decision;
  }
}

function isFailure(decision: AttemptDecision): boolean {
  return decision.do === 'finish' && decision.outcome.state === 'failed';
}

/**
 * Hands a build back to another attempt at once: true. False where RabbitMQ cannot be reached: the build's lease does so
 * later.
 */
async function handBack(
  { job, reporter }: Claimed,
  message: string,
  error: ImageBuilderError | undefined,
  { broker, log }: AttemptOptions,
): Promise<boolean> {
  // The event goes first: the worker that takes the job must see that the build has no owner any more.
  if (!(await reporter.handBack(message, error))) return false;
  await broker.jobs.handBack(job);
  log.info('build handed back');
  return true;
}

async function finish(
  { job, attempt, reporter, wholeLog, span }: Claimed,
  outcome: Outcome,
  { broker, name, deliveries, discard, onEnd, log }: AttemptOptions,
): Promise<BuildEvent['state']> {
  if (outcome.state !== 'completed' && attempt > 1) {
    await discard(job.build_id, job.request.base_image.image_type).catch((error: unknown) => {
      log.warn('what earlier attempts left in the store cannot be removed', { error });
    });
  }
  // A build that belongs to another worker by now gets the log of that one.
  const isOurs = broker.ledger.owns(job.build_id, name, attempt);
  const kept = isOurs && wholeLog !== null ? await keepWholeLog(wholeLog, outcome, reporter) : null;
  const { event, counted } = await reporter.end(outcome, kept ?? undefined);
  if (!counted) return 'running';
  const durationSeconds = (Date.now() - Date.parse(job.submitted_at)) / 1000;
  log.info('build ended', { state: event.state, code: event.error?.code, duration_seconds: durationSeconds });
  onEnd?.(job.request.base_image.image_type, event.state, event.error);
  deliverCallback(job, event, span.context, deliveries);
  return event.state;
}

/**
 * Publishes an event; resolves with whether it counted. Progress that cannot be published is dropped. The end of a
 * build, or its hand-back, is tried until it succeeds; but a worker that is stopping does not wait for that: the lease
 * brings the job to another one, which finds the image.
 */
async function publish(
  { submission }: BuildJob,
  event: BuildEvent,
  { trace, stopping }: { readonly trace: TraceContext; readonly stopping: AbortSignal },
  { broker, log }: AttemptOptions,
): Promise<boolean> {
  for (;;) {
    try {
      const patienceMs = stopping.aborted ? stoppingPatienceMs : undefined;
      return (await broker.publishEvent(event, { submission, trace, patienceMs })) === 'applied';
    } catch (error) {
      log.warn('event not sent', { state: event.state, sequence: event.sequence, error });
      if (event.state === 'running' || stopping.aborted) return false;
      await sleep(1_000);
    }
  }
}
