import type { BuildEvent } from '../api/event.ts';
import { safeUrl } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Backoff, backoffMs } from '../retry.ts';
import { traceFields } from '../trace-context.ts';
import { type Callback, type CallbackOptions, sendCallback } from './callback.ts';

/**
 * The callbacks of a process on their way. Builds do not wait for them: a receiver may be slow, silent, or away for
 * minutes. Everything is bounded: the time of an attempt, attempts at once (also for one receiver), and how many
 * callbacks wait. Attempts are fair: first attempts come before repeated ones, and among equals the receiver with the
 * fewest attempts under way comes first.
 */
export interface Deliveries extends AsyncDisposable {
  /**
   * Delivers in the background, until the receiver's time is over. Does nothing for a build whose callback is on its
   * way already, or when there is no room; nothing is recorded then, so the lease of the job brings it again.
   */
  add(delivery: Delivery): void;
}

export interface Delivery {
  readonly callback: Callback;
  /** The terminal event of the build. */
  readonly event: BuildEvent;
  /** From the submission to the end of the build. */
  readonly durationSeconds: number;
}

export interface DeliveriesOptions extends Pick<CallbackOptions, 'post' | 'signingKey'> {
  /** Time for which an unreachable receiver is tried again. */
  readonly timeoutMs: number;
  /** Called when the receiver has taken or refused the event, or was given up. Must not reject. */
  readonly settled: (buildId: string) => Promise<void>;
  readonly log: Log;
  readonly limits?: Partial<DeliveryLimits>;
}

export interface DeliveryLimits {
  /** Time limit of one attempt, from looking up the name to the head of the answer, redirects included. */
  readonly attemptMs: number;
  readonly atOnce: number;
  readonly atOncePerReceiver: number;
  /** Callbacks that wait or are under way. An event takes up to 64 KiB. */
  readonly kept: number;
  readonly keptPerReceiver: number;
}

const defaultLimits = {
  attemptMs: 10_000,
  atOnce: 32,
  atOncePerReceiver: 4,
  kept: 1_000,
  keptPerReceiver: 100,
} as const satisfies DeliveryLimits;

const pauses = { delayMs: 1_000, maximumDelayMs: 60_000 } as const satisfies Backoff;

interface Waiting extends Delivery {
  /** The host of the URL: all its ports count as one receiver. */
  readonly receiver: string;
  readonly deadline: number;
  attempts: number;
  dueAt: number;
}

/** Starts with nothing to deliver. Disposing it breaks off deliveries under way; another worker then takes them up. */
export function createDeliveries(options: DeliveriesOptions): Deliveries {
  const { log } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const stop = new AbortController();
  const waiting = new Map<string, Waiting>();
  const underWay = new Map<string, Waiting>();
  const work = new Set<Promise<void>>();
  let timer: NodeJS.Timeout | undefined;

  const countOf = (deliveries: ReadonlyMap<string, Waiting>, receiver: string) =>
    [...deliveries.values()].filter((delivery) => delivery.receiver === receiver).length;

  /** The due delivery that comes next; undefined when none may start now. */
  function choose(): Waiting | undefined {
    if (underWay.size >= limits.atOnce) return undefined;
    const busy = new Map<string, number>();
    for (const { receiver } of underWay.values()) busy.set(receiver, (busy.get(receiver) ?? 0) + 1);
    const busyWith = ({ receiver }: Waiting) => busy.get(receiver) ?? 0;
    const now = Date.now();
    let best: Waiting | undefined;
    for (const one of waiting.values()) {
      if (one.dueAt > now || busyWith(one) >= limits.atOncePerReceiver) continue;
      const before =
        best === undefined ||
        (one.attempts - best.attempts || busyWith(one) - busyWith(best) || one.dueAt - best.dueAt) < 0;
      if (before) best = one;
    }
    return best;
  }

  /**
   * Starts the deliveries that may start, and runs again when the next pause is over. The end of an attempt calls it as
   * well.
   */
  function startDue(): void {
    clearTimeout(timer);
    if (stop.signal.aborted) return;
    for (let next = choose(); next !== undefined; next = choose()) {
      const { build_id: buildId } = next.event;
      waiting.delete(buildId);
      underWay.set(buildId, next);
      const attempt = tryOnce(next).finally(() => work.delete(attempt));
      work.add(attempt);
    }
    const now = Date.now();
    const left = [...waiting.values()].map(({ dueAt }) => dueAt - now).filter((leftMs) => leftMs > 0);
    if (left.length > 0) timer = setTimeout(startDue, Math.min(...left));
  }

  async function tryOnce(delivery: Waiting): Promise<void> {
    const { callback, event, durationSeconds } = delivery;
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(limits.attemptMs)]);
    const answer = await sendCallback(callback, event, { ...options, durationSeconds, signal });
    underWay.delete(event.build_id);
    delivery.attempts += 1;
    const settled = isSettled(delivery, answer.outcome === 'taken' ? null : answer);
    // The place is free now, even while RabbitMQ takes its time for the record.
    startDue();
    if (settled) await options.settled(event.build_id);
  }

  /** False when the callback has to be tried again; it waits for its next attempt then. */
  function isSettled(
    delivery: Waiting,
    problem: { readonly outcome: 'refused' | 'failed'; readonly reason: string } | null,
  ): boolean {
    if (problem === null) return true;
    const { event, callback } = delivery;
    const about = { build_id: event.build_id, ...traceFields(callback.trace) };
    const fields = { ...about, callback_url: safeUrl(callback.url), reason: problem.reason };
    if (problem.outcome === 'refused') {
      log.warn('callback refused', fields);
      return true;
    }
    if (stop.signal.aborted) {
      log.info('callback left to another worker', fields);
      return false;
    }
    const waitMs = Math.round(backoffMs(delivery.attempts, pauses, [0.75, 1.25]));
    if (Date.now() + waitMs > delivery.deadline) {
      log.warn('callback given up', fields);
      return true;
    }
    log.info('callback failed, trying again', { ...fields, wait_ms: waitMs });
    delivery.dueAt = Date.now() + waitMs;
    waiting.set(event.build_id, delivery);
    return false;
  }

  return {
    add(delivery) {
      const { build_id: buildId } = delivery.event;
      if (stop.signal.aborted || waiting.has(buildId) || underWay.has(buildId)) return;
      const receiver = new URL(delivery.callback.url).hostname;
      if (
        waiting.size + underWay.size >= limits.kept ||
        countOf(waiting, receiver) + countOf(underWay, receiver) >= limits.keptPerReceiver
      ) {
        log.warn('too many callbacks wait; this one comes back with the lease of its job', { build_id: buildId });
        return;
      }
      const now = Date.now();
      const deadline = now + options.timeoutMs;
      waiting.set(buildId, { ...delivery, receiver, deadline, attempts: 0, dueAt: now });
      startDue();
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      clearTimeout(timer);
      await Promise.all(work);
    },
  };
}
