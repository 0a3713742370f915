import { randomUUID } from 'node:crypto';
import { type BuildEvent, isTerminal } from '../api/event.ts';
import { keepRequest } from '../api/kept-request.ts';
import { parseBuildRequest } from '../api/request.ts';
import { pause } from '../async.ts';
import type { BrokerCertificates } from '../broker-address.ts';
import type { Log } from '../log.ts';
import type { TraceContext } from '../trace-context.ts';
import type { NotificationWay, Verdict } from './build.ts';
import { openConnection } from './connection.ts';
import { declareTopology } from './declare-topology.ts';
import { eventOf } from './event.ts';
import {
  createEventPublisher,
  eventPatienceMs,
  type PublishEventOptions,
  queuedPatienceMs,
} from './event-publisher.ts';
import { followEvents } from './follower.ts';
import type { BuildJob } from './job.ts';
import { type Jobs, openJobs } from './jobs.ts';
import type { LiveLedger } from './live-ledger.ts';
import { messageOf } from './log-chunk.ts';
import { createLogReader, type LogReader } from './log-reader.ts';
import { createLogWriter, type LogWriter, type LogWriterOptions } from './log-writer.ts';
import { openProgress } from './progress.ts';

/** All of Image Builder's use of RabbitMQ, on one connection that recovers by itself. */
export interface Broker extends AsyncDisposable {
  readonly jobs: Jobs;
  /** The builds as the events so far describe them. */
  readonly ledger: LiveLedger;
  /**
   * Publishes an event: appends it to the stream and, when it counted there, sends it to the caller's exchange. Events
   * of a build keep the order of the calls. Any verdict but `applied` means that the sender does not own the build any
   * more, and that no caller has received the event. Throws `broker.unreachable` when an outage outlasts `patienceMs`:
   * the next event supersedes this one, but a terminal event has to be published again, unchanged.
   */
  publishEvent(event: BuildEvent, options?: PublishEventOptions): Promise<Verdict>;
  /** Starts the next attempt at a build for a worker: `attempt` is the last known one plus one. */
  claim(job: BuildJob, by: ClaimedBy): Promise<Claim>;
  /** Sends a terminal event that counted to the caller's exchange once more, and records it where that succeeds. */
  notifyEnd(event: BuildEvent): Promise<void>;
  /** Records that the caller was notified in this way. Never throws: in doubt, the caller is notified again. */
  recordNotified(buildId: string, way: NotificationWay): Promise<void>;
  /**
   * Takes back a submission that is answered with an error: parts of it may have arrived, or may still. Returns at
   * once; goes on trying while this process lives.
   */
  withdraw(buildId: string): void;
  /**
   * Asks for the end of a build. `applied` and `duplicate`: the ledger has the request to cancel; other verdicts say
   * why there is nothing to end.
   */
  requestCancel(buildId: string): Promise<Verdict>;
  /** Shows that a worker lives, and whether it can build. Throws `broker.unreachable`. */
  showWorker(worker: ShownWorker): Promise<void>;
  /** Writes the log of an attempt to the logs stream. */
  writeLog(attempt: Pick<LogWriterOptions, 'buildId' | 'attempt' | 'maximumBytes'>): LogWriter;
  /** Logs of builds as far as the logs stream has them. */
  readonly logs: LogReader;
  reachable(): { readonly reachable: boolean; readonly message?: string };
}

/** A worker's words about itself. */
export interface ShownWorker {
  readonly name: string;
  /** The reason why it takes no build; null where it can. */
  readonly unable: string | null;
  /** True where it ends. */
  readonly stopped?: boolean;
}

export interface ClaimedBy {
  readonly worker: string;
  readonly attempt: number;
  /** Sequence number of the event about it: higher than every one of this build before. */
  readonly sequence: number;
  /** The operation of the attempt. */
  readonly trace?: TraceContext;
}

/**
 * The result of a claim. `won`: the build is this worker's. That is so also after a request to cancel it: the worker
 * then ends it. `lost`: another worker has it. `finished`, `superseded`: there is nothing to build, drop the job.
 */
export type Claim = 'won' | 'lost' | 'finished' | 'superseded';

export interface BrokerOptions {
  readonly amqpUrl: string;
  readonly certificates?: BrokerCertificates;
  readonly leaseMs: number;
  readonly eventRetentionSeconds: number;
  readonly eventRetentionBytes: number;
  /** Memory for finished builds. Default, and null: as many bytes as the stream has, enough for all builds in it. */
  readonly historyBytes?: number | null;
  /**
   * Time over which processes spread their refreshing of records that would fall out of the stream. Default 5 seconds.
   */
  readonly refreshSpreadMs?: number;
  readonly log: Log;
  /** Name of the connection in RabbitMQ. Default `imagebuilder`. */
  readonly name?: string;
  /** Interval at which this process puts jobs that RabbitMQ has dropped back into the queue. Default: it does not. */
  readonly reviveEveryMs?: number;
}

/** Limit for everything that an HTTP call waits for: it is answered with 503 rather than late. */
const callPatienceMs = 6_000;
const withdrawalPatienceMs = 10_000;
/**
 * Interval for functions that change jobs. A message-ttl on every queue drops a job for good where it is shorter: any
 * other only sends it around.
 */
export const reviveEveryMs = 15_000;

/**
 * Opens the broker. Returns at once, also while RabbitMQ is away: operations that need it then wait a little and throw
 * `broker.unreachable`.
 */
export async function openBroker(options: BrokerOptions): Promise<Broker> {
  const { log } = options;
  const retention = { seconds: options.eventRetentionSeconds, bytes: options.eventRetentionBytes };
  const connection = await openConnection({
    amqpUrl: options.amqpUrl,
    ...(options.certificates && { certificates: options.certificates }),
    name: options.name ?? 'imagebuilder',
    setup: (model) => declareTopology(model, retention, log),
    log,
  });
  const follower = followEvents(connection, {
    forgetAfterSeconds: retention.seconds,
    historyBytes: options.historyBytes ?? retention.bytes,
    retentionBytes: retention.bytes,
    refreshSpreadMs: options.refreshSpreadMs ?? 5_000,
    log,
  });
  const progress = openProgress(connection, {
    isOvertaken({ build_id, sequence, time }) {
      // The worker that has the build waits until this event has been delivered.
      if (sequence === 0 && Date.now() - Date.parse(time) < queuedPatienceMs) return false;
      return (follower.ledger.get(build_id)?.sequence ?? 0) > sequence;
    },
    log,
  });
  const jobs = openJobs(connection, { leaseMs: options.leaseMs, patienceMs: callPatienceMs, log });
  const logs = createLogReader(connection, log);
  const events = createEventPublisher(follower, progress, log);
  const stopping = new AbortController();
  let closing = false;

  const withdraw = async (buildId: string) => {
    const record = { kind: 'withdrawn', id: randomUUID(), build_id: buildId } as const;
    while (!closing) {
      try {
        await follower.append(record, withdrawalPatienceMs);
        return log.info('submission withdrawn', { build_id: buildId });
      } catch (error) {
        log.warn('submission not withdrawn yet', { build_id: buildId, error });
      }
    }
  };

  const revive = async (everyMs: number) => {
    while (!closing) {
      await pause(everyMs, stopping.signal);
      if (closing || !connection.reachable().reachable) continue;
      await jobs.revive().catch((error: unknown) => log.info('dropped jobs not put back yet', { error }));
    }
  };
  const reviving = options.reviveEveryMs === undefined ? undefined : revive(options.reviveEveryMs);

  return {
    jobs,
    ledger: follower.ledger,
    publishEvent: events.publish,
    notifyEnd: events.notify,
    recordNotified: events.recordNotified,
    withdraw: (buildId) => void withdraw(buildId),
    async claim(job, { worker, attempt, sequence, trace }) {
      const message = attempt === 1 ? 'started' : `started again, attempt ${attempt}`;
      const event = eventOf(job, { sequence, attempt, worker, state: 'running', message });
      const request = keepRequest(parseBuildRequest(job.request), job.callback?.url ?? null);
      const background = { request, trace: job.trace };
      const verdict = await events.publish(event, { submission: job.submission, background, trace });
      if (verdict === 'applied') return 'won';
      return verdict === 'finished' || verdict === 'superseded' ? verdict : 'lost';
    },
    async requestCancel(buildId) {
      // A call that changes nothing must append nothing: enough of them would fill the stream.
      const build = follower.ledger.get(buildId);
      if (build !== undefined && isTerminal(build.state)) return 'finished';
      if (build?.cancelling === true) return 'duplicate';
      const time = new Date().toISOString();
      return await follower.append({ kind: 'cancel', id: randomUUID(), build_id: buildId, time }, callPatienceMs);
    },
    async showWorker({ name, unable, stopped = false }) {
      const time = new Date().toISOString();
      const record = { kind: 'worker', id: randomUUID(), worker: name, time, unable } as const;
      await follower.append(stopped ? { ...record, stopped } : record, callPatienceMs);
    },
    writeLog: (attempt) =>
      createLogWriter({ ...attempt, send: (chunk) => connection.publish(messageOf(chunk), eventPatienceMs) }),
    logs,
    reachable: () => connection.reachable(),
    async [Symbol.asyncDispose]() {
      closing = true;
      stopping.abort();
      await reviving;
      await events.settled();
      await progress[Symbol.asyncDispose]();
      await logs[Symbol.asyncDispose]();
      await jobs[Symbol.asyncDispose]();
      await follower[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}
