import { randomUUID } from 'node:crypto';
import { type BuildEvent, isTerminal } from '../api/event.ts';
import type { Log } from '../log.ts';
import { parseTraceContext, type TraceContext } from '../trace-context.ts';
import type { Background } from './background.ts';
import { backgroundOf, type NotificationWay, type Verdict } from './build.ts';
import type { Follower } from './follower.ts';
import type { Progress } from './progress.ts';
import type { Submission } from './submission.ts';

/** Publishes events of builds: into the stream, and to their callers. */
export interface EventPublisher {
  /** As `Broker.publishEvent`. */
  publish(event: BuildEvent, options?: PublishEventOptions): Promise<Verdict>;
  /** Sends an event that counted to the caller's exchange, and records it where that succeeds for the last one. */
  notify(event: BuildEvent, trace?: TraceContext): Promise<void>;
  /** As `Broker.recordNotified`. */
  recordNotified(buildId: string, way: NotificationWay): Promise<void>;
  /** Resolves when no event is under way any more. Never throws. */
  settled(): Promise<void>;
}

export interface PublishEventOptions {
  /** The submission of the build's job. */
  readonly submission?: Submission | undefined;
  /** Beside the first event of a build and of an attempt. The last event of a build gets it from the ledger. */
  readonly background?: Background | undefined;
  /** The operation that the event comes from. Default: the one that has submitted the build. */
  readonly trace?: TraceContext | undefined;
  readonly patienceMs?: number | undefined;
  /** Resolves as soon as the event counts, while it is still on its way to the caller's exchange. Default: false. */
  readonly untilItCounts?: boolean | undefined;
}

/** Limit for publishing progress. A lost event is superseded by the next one. */
export const eventPatienceMs = 10_000;
/** How long a worker's first event waits for the `queued` event, whose process may have died. */
export const queuedPatienceMs = 2_000;
/** Limit for recording that a caller was notified. */
const recordPatienceMs = 6_000;

export function createEventPublisher(
  follower: Pick<Follower, 'ledger' | 'append'>,
  progress: Pick<Progress, 'send'>,
  log: Log,
): EventPublisher {
  /** The newest event under way of each build: the next one waits for it. */
  const underWay = new Map<string, Promise<unknown>>();

  const publish = async (event: BuildEvent, options: PublishEventOptions = {}): Promise<Verdict> => {
    const { submission, trace, patienceMs = eventPatienceMs, untilItCounts = false } = options;
    const known = isTerminal(event.state) ? follower.ledger.get(event.build_id) : undefined;
    const background = known === undefined ? options.background : backgroundOf(known, event.attempt);
    const before = underWay.get(event.build_id);
    const append = async () => {
      await before?.catch(() => {});
      const beside = { ...(submission && { submission }), ...(background && { background }) };
      const record = { kind: 'event', id: randomUUID(), event, ...beside } as const;
      const first = await follower.append(record, patienceMs);
      // The event was sent again because its arrival was uncertain. It had arrived, and may not have gone further.
      return first === 'duplicate' && isTerminal(event.state) ? 'applied' : first;
    };
    const deliver = async (verdict: Verdict) => {
      if (verdict === 'applied') await notify(event, trace);
      else log.info('an event that does not count any more', { build_id: event.build_id, verdict });
      return verdict;
    };
    const counted = append();
    const delivered = counted.then(deliver).finally(() => {
      if (underWay.get(event.build_id) === delivered) underWay.delete(event.build_id);
    });
    underWay.set(event.build_id, delivered);
    if (!untilItCounts) return await delivered;
    // A failure to append it is thrown below.
    delivered.catch(() => {});
    return await counted;
  };

  const recordNotified = async (buildId: string, way: NotificationWay) => {
    try {
      await follower.append({ kind: 'told', id: randomUUID(), build_id: buildId, way }, recordPatienceMs);
    } catch (error) {
      log.warn('notification of the caller not recorded', { build_id: buildId, way, error });
    }
  };

  const notify = async (event: BuildEvent, trace?: TraceContext) => {
    if (event.state === 'running' && event.sequence === 1) await queuedDelivered(event.build_id);
    const submitted = follower.ledger.get(event.build_id)?.trace;
    const sent = await progress.send(event, trace ?? parseTraceContext(submitted ?? {}));
    // Delivered or given up: no `queued` event follows.
    if (event.state === 'queued' && event.attempt === 0) void recordNotified(event.build_id, 'queued');
    if (sent && isTerminal(event.state)) await recordNotified(event.build_id, 'progress_trigger');
  };

  /** `queued` is published concurrently with the worker's first event: hold the latter back until it is delivered. */
  const queuedDelivered = (buildId: string) =>
    follower.ledger.when(buildId, ({ notified }) => notified.includes('queued'), queuedPatienceMs);

  return {
    publish,
    notify,
    recordNotified,
    async settled() {
      await Promise.allSettled(underWay.values());
    },
  };
}
