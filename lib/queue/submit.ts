import { randomUUID } from 'node:crypto';
import { type KeptRequest, keepRequest } from '../api/kept-request.ts';
import { formatPpa } from '../api/ppa.ts';
import type { BuildRequest, BuildRequestInput } from '../api/request.ts';
import { ImageBuilderError } from '../errors.ts';
import { type TraceContext, traceHeadersOf } from '../trace-context.ts';
import type { Broker } from './broker.ts';
import { isSameRequest, type Verdict } from './build.ts';
import { eventOf } from './event.ts';
import type { BuildJob } from './job.ts';
import { whyNoneBuilds } from './seen-workers.ts';
import { digestRequest } from './submission.ts';

export interface SubmitOptions {
  readonly request: BuildRequest;
  readonly callback: BuildJob['callback'];
  /** Name of the caller. */
  readonly caller: string;
  /** The build whose request it repeats. */
  readonly retryOf?: string;
  /** The operation of the call. */
  readonly trace: TraceContext;
  /** Takes a place for the build, or throws where the caller has no free one. Disposing it gives the place up. */
  readonly admit: (buildId: string, now: Date) => Disposable;
}

export interface Submitted {
  readonly buildId: string;
  /** False where the same request is being built already: then this is that build. */
  readonly isNew: boolean;
  /** The reason why no worker takes it now; null where one can. */
  readonly hindrance: string | null;
}

/** Time that a call waits until the past has been read from the events stream. */
export const readyPatienceMs = 10_000;
const eventPatienceMs = 6_000;

/**
 * Submits a build. Where equal requests are submitted before the first one's build has ended, only the first is built.
 * Throws `request.conflict` where an unfinished build for another request has the same ticket_id and progress_trigger,
 * `broker.unreachable`, and the errors of `admit`; then nothing is built.
 */
export async function submit(broker: Broker, options: SubmitOptions): Promise<Submitted> {
  const { request, callback, caller, retryOf, trace } = options;
  await broker.ledger.ready(readyPatienceMs);
  const now = new Date();
  const hindrance = whyNoneBuilds(broker.ledger.workers(), now);
  const key = { caller, ticketId: request.ticket_id, progressTrigger: request.progress_trigger };
  const known = broker.ledger.unfinished(key, now);
  const digest = digestRequest(request, callback?.url ?? null);
  if (known !== undefined) {
    if (!isSameRequest(known, digest)) throw conflict(known.buildId);
    return { buildId: known.buildId, isNew: false, hindrance };
  }
  const job: BuildJob = {
    build_id: randomUUID(),
    request: toInput(request),
    callback,
    submitted_at: now.toISOString(),
    submission: {
      ...{ caller, request_sha256: digest, series: request.base_image.series },
      ...(retryOf === undefined ? {} : { retry_of: retryOf }),
    },
    trace: traceHeadersOf(trace),
  };
  const kept = keepRequest(request, callback?.url ?? null);
  using _place = options.admit(job.build_id, now);
  const verdict = await enqueue(broker, job, kept, hindrance).catch((error: unknown) => {
    // RabbitMQ may have the record although it did not confirm it, or still get it: a refused build must not be built.
    broker.withdraw(job.build_id);
    throw error;
  });
  if (verdict !== 'superseded') return { buildId: job.build_id, isNew: true, hindrance };
  const { supersededBy, conflicting } = broker.ledger.get(job.build_id) ?? {};
  if (typeof supersededBy === 'string' && conflicting === false)
    return { buildId: supersededBy, isNew: false, hindrance };
  throw conflict(supersededBy);
}

async function enqueue(
  broker: Broker,
  job: BuildJob,
  request: KeptRequest,
  hindrance: string | null,
): Promise<Verdict> {
  // The job goes first: an event without a job would announce a build that never starts.
  await broker.jobs.submit(job);
  const message = hindrance === null ? 'Waiting for a worker' : `Waiting for a worker: ${hindrance}`;
  const queued = { sequence: 0, attempt: 0, worker: null, state: 'queued', message } as const;
  return await broker.publishEvent(eventOf(job, { ...queued, time: job.submitted_at }), {
    submission: job.submission,
    background: { request, trace: job.trace },
    patienceMs: eventPatienceMs,
    // The build is accepted whether or not its caller's exchange takes the news.
    untilItCounts: true,
  });
}

function conflict(buildId: string | null | undefined): ImageBuilderError {
  return new ImageBuilderError(
    'request.conflict',
    `another request with this ticket_id and progress_trigger is in work${buildId ? `, as build ${buildId}` : ''}`,
  );
}

/** The request as it goes into the job: only validated fields, PPAs in their canonical spelling. */
function toInput(request: BuildRequest): BuildRequestInput {
  return { ...request, ppa_list: request.ppa_list.map(formatPpa) };
}
