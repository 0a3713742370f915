import { randomUUID } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { onAbort, pause, sleep, within } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type BrokerConnection, closeQuietly } from './connection.ts';
import { type BuildView, createLedger, type Ledger, type Verdict } from './ledger.ts';
import { decodeRecord, encodeRecord, type StreamRecord } from './record.ts';
import { createRefresh } from './refresh.ts';
import { queues } from './topology.ts';

/**
 * The ledger of the events stream, read from its beginning and followed. It always answers; `caughtUp` says how well.
 */
export interface LiveLedger extends Omit<Ledger, 'apply'> {
  /** True while everything has been read that was in the stream when the newest connection was made. */
  readonly caughtUp: boolean;
  /** Resolves when `caughtUp`; costs nothing while it is. Throws `broker.unreachable`. */
  ready(patienceMs?: number): Promise<void>;
  /**
   * Resolves when everything that is in the stream now has been read. Throws `broker.unreachable`. Appends a record, so
   * no call from outside may end here: with enough of them, anybody could push all builds out of the stream.
   */
  sync(patienceMs?: number): Promise<void>;
  /**
   * Finds the build, if it is as wanted. Waits a moment for an unknown build, because its caller may be faster than the
   * stream. Waits as long for a build that is not as wanted, so that a caller cannot tell the two apart.
   */
  find(buildId: string, wanted: (build: BuildView) => boolean): Promise<BuildView | undefined>;
  /**
   * Milliseconds in which nothing was heard of the build although this process was listening. Measured by its own
   * clock, and without the time in which RabbitMQ was away: other clocks differ, and workers could not be heard then.
   */
  quietMs(buildId: string): number;
  /** Resolves as soon as the build is known to be as wanted, or when patience is over. */
  when(buildId: string, wanted: (build: BuildView) => boolean, patienceMs: number): Promise<void>;
  /** Calls the listener after every record that has changed the build. Returns the function that ends that. */
  onChange(buildId: string, listener: (build: BuildView) => void): () => void;
}

export interface Follower extends AsyncDisposable {
  readonly ledger: LiveLedger;
  /**
   * Appends a record and resolves with its verdict, once it has come back through the stream: everything before it has
   * been read then. Throws `broker.unreachable` when `patienceMs` is over; the record may be in the stream all the
   * same.
   */
  append(record: StreamRecord, patienceMs: number): Promise<Verdict>;
}

export interface FollowerOptions {
  readonly forgetAfterSeconds: number;
  /** Size of the stream beyond which RabbitMQ drops the oldest records. */
  readonly retentionBytes: number;
  /** Processes that follow one stream spread their refreshing of it over this time. */
  readonly refreshSpreadMs: number;
  readonly log: Log;
}

/** Records that RabbitMQ sends ahead of their acknowledgements. */
const prefetch = 500;
const reconnectDelayMs = 500;
const channelPatienceMs = 30_000;
/**
 * Where no record arrives for this long after a marker was appended, we are not reading the stream that has the marker.
 */
const silenceMs = 10_000;

const refreshPatienceMs = 10_000;

/** Reading the whole past takes some 150 µs per event. */
const readyPatienceMs = 20_000;
const syncPatienceMs = 6_000;
/** A record comes back through the stream within milliseconds. */
const appearanceMs = 1_000;

/** Starts following. Returns at once; `ready` resolves when the past has been read. */
export function followEvents(connection: BrokerConnection, options: FollowerOptions): Follower {
  const { log } = options;
  const newLedger = () => createLedger({ forgetAfterSeconds: options.forgetAfterSeconds });
  const stopping = new AbortController();
  const listeners = new Map<string, Set<(build: BuildView) => void>>();
  const waiting = new Map<string, (verdict: Verdict) => void>();
  let readyWaiters: (() => void)[] = [];
  let ledger = newLedger();
  const newRefresh = () => createRefresh({ ledger, ...options });
  let refresh = newRefresh();
  let refreshing = false;
  let caughtUp = false;
  let caughtUpAt = 0;
  /** When the newest event of each unfinished build came in. */
  const heardAt = new Map<string, number>();
  /** The first offset that has not been read. */
  let next: number | null = null;
  let received = 0;

  const take = (record: StreamRecord, bytes: number) => {
    const verdict = ledger.apply(record);
    refresh.note(record, verdict, bytes);
    waiting.get(record.id)?.(verdict);
    if (verdict !== 'applied' || record.kind === 'marker') return;
    const buildId = record.kind === 'event' ? record.event.build_id : record.build_id;
    const build = ledger.get(buildId);
    if (ledger.isOver(buildId)) heardAt.delete(buildId);
    else if (record.kind === 'event') heardAt.set(buildId, Date.now());
    if (build === undefined) return;
    for (const listener of listeners.get(buildId) ?? []) {
      try {
        listener(build);
      } catch (error) {
        log.error('a listener for events threw', { error });
      }
    }
  };

  const receive = (message: ConsumeMessage) => {
    received += 1;
    const offset: unknown = message.properties.headers?.['x-stream-offset'];
    if (typeof offset !== 'number' || (next !== null && offset < next)) return;
    next = offset + 1;
    const record = decodeRecord(message.content);
    if (typeof record === 'string') log.warn('a record that is not understood is skipped', { offset, reason: record });
    else take(record, message.content.length);
    if (caughtUp && !refreshing && refresh.isDue()) void refreshBuilds();
  };

  const append = async (record: StreamRecord, patienceMs: number): Promise<Verdict> => {
    const deadline = Date.now() + patienceMs;
    const seen = new Promise<Verdict>((resolve) => waiting.set(record.id, resolve));
    try {
      await connection.publish(
        {
          queue: queues.events,
          content: encodeRecord(record),
          messageId: record.id,
          type: `imagebuilder.${record.kind}`,
        },
        patienceMs,
      );
      return await within(seen, deadline - Date.now());
    } catch (error) {
      if (error instanceof ImageBuilderError) throw error;
      throw unreadable('the events in RabbitMQ could not be read in time');
    } finally {
      waiting.delete(record.id);
    }
  };

  /**
   * Appends records of unfinished builds again that RabbitMQ would drop soon. As a rule one process does it: the first.
   */
  const refreshBuilds = async () => {
    refreshing = true;
    try {
      await sleep(Math.random() * options.refreshSpreadMs, stopping.signal);
      for (let records = refresh.next(new Date()); records !== null; records = refresh.next(new Date())) {
        for (const record of records) await appendAgain(record);
      }
    } catch (error) {
      if (!stopping.signal.aborted) log.info('unfinished builds not refreshed in the stream', { error });
    } finally {
      refreshing = false;
    }
  };

  const appendAgain = async (record: StreamRecord) => {
    const verdict = await append(record, refreshPatienceMs);
    if (record.kind !== 'event' || verdict !== 'finished') return;
    // The build ended in this very moment: a reader that finds the one event must find the other behind it.
    const end = ledger.get(record.event.build_id);
    if (end !== undefined) await append({ ...record, id: randomUUID(), event: end.event }, refreshPatienceMs);
  };

  /** Reads until the channel closes. */
  const readOnce = async (channel: ConfirmChannel) => {
    const ended = Promise.withResolvers<void>();
    channel.once('close', ended.resolve);
    using _listener = onAbort(stopping.signal, ended.resolve);
    await channel.prefetch(prefetch);
    await channel.consume(
      queues.events,
      (message) => {
        try {
          // null: RabbitMQ has ended the consumer, because the stream was deleted or its leader moved.
          if (message === null) return void closeQuietly(channel);
          receive(message);
          channel.ack(message);
        } catch (error) {
          log.error('an event could not be taken in', { error });
        }
      },
      { arguments: { 'x-stream-offset': next ?? 'first' } },
    );
    void catchUp(channel);
    await ended.promise;
  };

  /**
   * Marks the end of the past, and notices when the marker never comes: an offset beyond the end of a new stream stays
   * silent.
   */
  const catchUp = async (channel: ConfirmChannel) => {
    let open = true;
    channel.once('close', () => {
      open = false;
    });
    while (open && !caughtUp) {
      const before = received;
      try {
        await append({ kind: 'marker', id: randomUUID() }, silenceMs);
        caughtUp = open;
        caughtUpAt = Date.now();
      } catch {
        if (!open || stopping.signal.aborted || received !== before || !connection.reachable().reachable) continue;
        log.warn('the events stream is not the one that was read before; it is read anew', { offset: next });
        next = null;
        ledger = newLedger();
        refresh = newRefresh();
        heardAt.clear();
        await closeQuietly(channel);
      }
    }
    if (!caughtUp) return;
    for (const resolve of readyWaiters.splice(0)) resolve();
  };

  const run = async () => {
    while (!stopping.signal.aborted) {
      let channel: ConfirmChannel | undefined;
      try {
        channel = await connection.openChannel(channelPatienceMs);
        await readOnce(channel);
      } catch (error) {
        log.debug('the events stream cannot be read', {
          reason: error instanceof Error ? error.message : String(error),
        });
      }
      caughtUp = false;
      if (channel !== undefined) await closeQuietly(channel);
      await pause(reconnectDelayMs, stopping.signal);
    }
  };
  const running = run();

  const live: LiveLedger = {
    get: (buildId) => ledger.get(buildId),
    isOver: (buildId) => ledger.isOver(buildId),
    builds: (now) => ledger.builds(now),
    unfinished: (key, now) => ledger.unfinished(key, now),
    usage: (caller, now) => ledger.usage(caller, now),
    owns: (buildId, worker, attempt) => ledger.owns(buildId, worker, attempt),
    workers: () => ledger.workers(),
    get caughtUp() {
      return caughtUp;
    },
    async ready(patienceMs = readyPatienceMs) {
      if (caughtUp) return;
      const done = new Promise<void>((resolve) => readyWaiters.push(resolve));
      try {
        await within(done, patienceMs);
      } catch {
        const { reachable, message } = connection.reachable();
        throw unreadable(reachable ? 'the events in RabbitMQ are still being read' : message);
      }
    },
    async sync(patienceMs = syncPatienceMs) {
      await append({ kind: 'marker', id: randomUUID() }, patienceMs);
    },
    async find(buildId, wanted) {
      await live.when(buildId, wanted, appearanceMs);
      const build = ledger.get(buildId);
      return build !== undefined && wanted(build) ? build : undefined;
    },
    quietMs(buildId) {
      const { usableSince } = connection;
      if (!caughtUp || usableSince === null) return 0;
      return Date.now() - Math.max(usableSince, caughtUpAt, heardAt.get(buildId) ?? 0);
    },
    async when(buildId, wanted, patienceMs) {
      const known = ledger.get(buildId);
      if (known !== undefined && wanted(known)) return;
      const come = Promise.withResolvers<void>();
      const unfollow = live.onChange(buildId, (build) => wanted(build) && come.resolve());
      await within(come.promise, patienceMs).catch(() => {});
      unfollow();
    },
    onChange(buildId, listener) {
      const ofBuild = listeners.get(buildId) ?? new Set();
      listeners.set(buildId, ofBuild.add(listener));
      return () => {
        ofBuild.delete(listener);
        if (ofBuild.size === 0) listeners.delete(buildId);
      };
    },
  };

  return {
    ledger: live,
    append,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      readyWaiters = [];
      // The connection may be away, and a wait for a channel may last as long: do not wait for that.
      await within(running, 1_000).catch(() => {});
    },
  };
}

function unreadable(message = 'RabbitMQ is out of reach'): ImageBuilderError {
  return new ImageBuilderError('broker.unreachable', message, { retryAfterSeconds: 5 });
}
