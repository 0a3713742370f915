import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Broker } from '../queue/broker.ts';
import { type BuildView, submissionOf } from '../queue/build.ts';
import { eventOf } from '../queue/event.ts';
import { parseTraceContext, traceFields } from '../trace-context.ts';
import type { AttemptOptions } from './attempt.ts';
import { toErrorReport } from './event-limits.ts';
import type { LostBuilds } from './lost-builds.ts';

export interface EndLostOptions {
  /** Name of the worker. */
  readonly name: string;
  readonly broker: Broker;
  readonly lostBuilds: LostBuilds;
  readonly leaseMs: number;
  readonly onEnd?: AttemptOptions['onEnd'];
  readonly isInWork: (buildId: string) => boolean;
  readonly log: Log;
}

/**
 * Ends builds whose jobs are gone; to be called where no job waits. Their callers learn of it by their exchanges: the
 * callback of a build stands in its job. Throws `broker.unreachable`.
 */
export async function endLostBuilds(options: EndLostOptions): Promise<void> {
  const { broker, leaseMs, isInWork, lostBuilds } = options;
  const { ledger } = broker;
  const waiting = ledger
    .builds(new Date())
    .map((build) => ({ build, quietMs: ledger.quietMs(build.buildId) }))
    .filter(({ build, quietMs }) => {
      const claimed = build.owner !== null && quietMs < 2 * leaseMs;
      return !claimed && !ledger.isOver(build.buildId) && !isInWork(build.buildId);
    });
  for (const build of lostBuilds.look(waiting, performance.now())) await end(build, options);
}

async function end(build: BuildView, { name, broker, onEnd, log }: EndLostOptions): Promise<void> {
  const error = build.cancelling
    ? new ImageBuilderError('build.cancelled', 'cancelled by request')
    : new ImageBuilderError(
        'build.lost',
        'the job of this build is no longer in RabbitMQ: a queue was purged or deleted, or a node was lost with its data. Submit the request again',
      );
  // As the claim of the next attempt, it counts only where no worker has taken the build.
  const values = { sequence: build.sequence + 1, attempt: build.attempt + 1, worker: name };
  const state = build.cancelling ? 'cancelled' : 'failed';
  const { buildId: build_id, ticketId: ticket_id, progressTrigger: progress_trigger } = build;
  const event = eventOf(
    { build_id, request: { ticket_id, progress_trigger } },
    { ...values, state, message: error.message },
  );
  const submission = submissionOf(build);
  const report = toErrorReport(error, null, []);
  const verdict = await broker.publishEvent({ ...event, error: report }, { submission });
  if (verdict !== 'applied') return;
  onEnd?.(build.request?.base_image.image_type ?? 'unknown', state, report);
  const trace = traceFields(parseTraceContext(build.trace ?? {}));
  log.warn('build ended without its job', { build_id, ticket_id, state, code: error.code, ...trace });
}
