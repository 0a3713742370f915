import type { ConfirmChannel, GetMessage } from 'amqplib';
import { within } from '../async.ts';
import type { Log } from '../log.ts';
import { type BrokerConnection, closeQuietly, type QueueMessage } from './connection.ts';
import { reviveDeadLetters } from './dead-letters.ts';
import { type BuildJob, decodeJob, encodeJob } from './job.ts';
import { unreadable } from './live-ledger.ts';
import { describeMissingRight } from './missing-right.ts';
import { amqpCode, queues } from './topology.ts';

/** The jobs that wait, are leased, or were given up. */
export interface Jobs {
  /** Puts a new job in the queue; it is safe there when this resolves. */
  submit(job: BuildJob): Promise<void>;
  /**
   * The next job, or null when none waits. The job is this process's until one of its methods is called: do so within
   * seconds.
   */
  take(): Promise<TakenJob | null>;
  /**
   * The right that the user of RabbitMQ lacked for taking a job, and the command that gives it; null where it has it. Looks
   * again where it was missing. Never throws.
   */
  lacking(): Promise<string | null>;
  /** Puts a job back at once, for another worker. */
  handBack(job: BuildJob): Promise<void>;
  /** Moves a job that is given up to where an operator can see it. */
  bury(job: BuildJob): Promise<void>;
  /** Number of jobs that wait for a worker. */
  depth(): Promise<number>;
  /** Puts jobs that RabbitMQ has dropped back into the queue, and resolves with their number. */
  revive(): Promise<number>;
  /** Numbers of jobs that RabbitMQ has dropped and that were not put back yet, and of jobs that were given up. */
  aside(): Promise<{ readonly dropped: number; readonly buried: number }>;
}

/** A job that this process has, not acknowledged yet. */
export interface TakenJob {
  readonly job: BuildJob;
  /** Keeps the job safe while it is worked on: a copy comes back to the queue when the lease is over. */
  lease(): Promise<void>;
  /** Ends the job. */
  drop(): Promise<void>;
  /** Puts the job back as it was. */
  release(): Promise<void>;
}

export interface JobsOptions {
  readonly leaseMs: number;
  readonly patienceMs: number;
  readonly log: Log;
}

/** Opens the job queues on a connection. Every operation throws `broker.unreachable` when its patience is over. */
export function openJobs(connection: BrokerConnection, options: JobsOptions): Jobs & AsyncDisposable {
  const { leaseMs, patienceMs, log } = options;
  let current: Promise<ConfirmChannel> | undefined;
  /** Why no job could be taken, where that was for a right. */
  let missingRight: string | null = null;

  const channel = () => {
    current ??= connection.openChannel(patienceMs).then(
      (opened) => {
        opened.once('close', () => {
          current = undefined;
        });
        return opened;
      },
      (error: unknown) => {
        current = undefined;
        throw error;
      },
    );
    return current;
  };

  /** Runs a call on the channel, and once more on a new one: the old one may have died since it was last used. */
  const onChannel = async <Result>(call: (channel: ConfirmChannel) => Promise<Result>): Promise<Result> => {
    const opened = await channel();
    try {
      return await within(call(opened), patienceMs);
    } catch (error) {
      // Messages that the old channel may still receive go back to the queue when it closes.
      current = undefined;
      void closeQuietly(opened);
      // The queue was deleted while the connection was open.
      if (amqpCode(error) === 404) await connection.setUpAgain(patienceMs);
      return await within(call(await channel()), patienceMs);
    }
  };

  const send = (queue: string, job: BuildJob, extra: Pick<QueueMessage, 'expirationMs'> = {}) => {
    const headers = { ...job.trace };
    return connection.publish(
      { queue, content: encodeJob(job), messageId: job.build_id, type: 'imagebuilder.job', headers, ...extra },
      patienceMs,
    );
  };

  const taken = (from: ConfirmChannel, message: GetMessage, job: BuildJob): TakenJob => {
    const settle = (how: 'ack' | 'nack') => {
      try {
        if (how === 'ack') from.ack(message);
        else from.nack(message, false, true);
      } catch {
        // The channel is gone and the broker has put the job back: it will be taken again, and recognised by its build
        // id.
        log.warn('a job could not be acknowledged and will be seen again', { build_id: job.build_id });
      }
    };
    return {
      job,
      async lease() {
        await send(queues.leases, job, { expirationMs: leaseMs });
        settle('ack');
      },
      async drop() {
        settle('ack');
      },
      async release() {
        settle('nack');
      },
    };
  };

  const next = async () => {
    try {
      const got = await onChannel(async (opened) => [opened, await opened.get(queues.builds)] as const);
      missingRight = null;
      return got;
    } catch (error) {
      missingRight = describeMissingRight(error, 'read');
      throw missingRight === null ? error : unreadable(missingRight);
    }
  };

  const count = async (queue: string) => (await onChannel((opened) => opened.checkQueue(queue))).messageCount;

  return {
    submit: (job) => send(queues.builds, job),
    handBack: (job) => send(queues.builds, job),
    bury: (job) => send(queues.buried, job),

    async take() {
      for (;;) {
        const [from, message] = await next();
        if (message === false) return null;
        const job = decodeJob(message.content);
        if (typeof job !== 'string') return taken(from, message, job);
        log.error('a message that is no job is buried', { queue: queues.builds, reason: job });
        await connection.publish(
          {
            queue: queues.buried,
            content: message.content,
            messageId: String(message.properties.messageId ?? ''),
            type: String(message.properties.type ?? ''),
            headers: { 'x-imagebuilder-reason': job.slice(0, 1000) },
          },
          patienceMs,
        );
        from.ack(message);
      }
    },

    async lacking() {
      if (missingRight === null) return null;
      // A job that waits goes back, once: from then on, the right is there.
      const [from, message] = await next().catch(() => [null, false] as const);
      if (message !== false) from?.nack(message, false, true);
      return missingRight;
    },

    depth: () => count(queues.builds),
    revive: () => reviveDeadLetters(connection, { patienceMs, log }),
    aside: async () => ({ dropped: await count(queues.dead), buried: await count(queues.buried) }),

    async [Symbol.asyncDispose]() {
      const opened = await current?.catch(() => undefined);
      if (opened !== undefined) await closeQuietly(opened);
    },
  };
}
