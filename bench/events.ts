import { randomUUID } from 'node:crypto';
import { type ConfirmChannel, connect } from 'amqplib';
import { encodeRecord } from '#lib/queue/record.ts';
import { queues } from '#lib/queue/topology.ts';

/** Fills the events stream with the records of builds, as functions and workers write them. */

export interface WrittenBuilds {
  readonly builds: number;
  /** Events of a build beside its first, by its number; 0: it waits in the queue. The last one ends the build. */
  readonly eventsOf: (index: number) => number;
}

const workerEventsPerSecond = 10;
/** Records that are on their way to RabbitMQ at a time. */
const batch = 1_000;

/** The ticket of a build, by its number. */
export const ticketOf = (index: number) => `LP-${index}`;

/** The stream has to be there. Resolves with the builds' ids. */
export async function writeBuilds(url: string, { builds, eventsOf }: WrittenBuilds): Promise<string[]> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  const ids = Array.from({ length: builds }, () => randomUUID());
  let written = 0;
  for (const [index, build_id] of ids.entries()) {
    append(channel, build_id, index, {});
    const events = eventsOf(index);
    for (let sequence = 1; sequence <= events; sequence += 1) {
      append(channel, build_id, index, sequence === events ? failed(sequence) : running(sequence));
    }
    written += 1 + events;
    if (written < batch) continue;
    await channel.waitForConfirms();
    written = 0;
  }
  await channel.waitForConfirms();
  await connection.close();
  return ids;
}

/** Goes on writing events of one running build, as many as some builds write that run at the same time. */
export async function keepWriting(url: string): Promise<AsyncDisposable> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  const build_id = randomUUID();
  let sequence = 0;
  const timer = setInterval(() => {
    sequence += 1;
    append(channel, build_id, -1, running(sequence));
  }, 1000 / workerEventsPerSecond);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await connection.close();
    },
  };
}

type Values = Partial<Extract<Parameters<typeof encodeRecord>[0], { kind: 'event' }>['event']>;

const running = (sequence: number): Values => ({ state: 'running', worker: 'bench-1', attempt: 1, sequence });

function failed(sequence: number): Values {
  const error = { code: 'ppa.not_found', message: 'there is no PPA ppa:example/tools', step: 'sources' } as const;
  return {
    ...{ ...running(sequence), state: 'failed', step: 'sources', message: error.message },
    error: { ...error, fault: 'request', retryable: false },
  };
}

function append(channel: ConfirmChannel, build_id: string, index: number, values: Values): void {
  const content = encodeRecord({
    kind: 'event',
    id: randomUUID(),
    submission: { caller: 'anonymous', request_sha256: '0'.repeat(64) },
    event: {
      ...{ build_id, ticket_id: ticketOf(index), progress_trigger: 'bench', sequence: 0, attempt: 0, worker: null },
      ...{ time: new Date().toISOString(), state: 'queued', step: null, message: 'Waiting for a worker' },
      ...{ current: null, total: null, progress: 0 },
      ...values,
    },
  });
  channel.sendToQueue(queues.events, content, { persistent: true, contentType: 'application/json' });
}
