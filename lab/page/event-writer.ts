import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';
import { encodeRecord } from '#lib/queue/record.ts';
import { queues } from '#lib/queue/topology.ts';

export type WrittenEvent = Extract<Parameters<typeof encodeRecord>[0], { kind: 'event' }>['event'];

/** Writes records of builds that nobody runs into the events stream, as functions write them. */
export interface EventWriter extends AsyncDisposable {
  append(buildId: string, ticketId: string, values: Partial<WrittenEvent>): void;
  /** Resolves when RabbitMQ has all of them. */
  flush(): Promise<void>;
}

export async function openEventWriter(amqpUrl: string): Promise<EventWriter> {
  const connection = await connect(amqpUrl);
  const channel = await connection.createConfirmChannel();
  return {
    append(build_id, ticket_id, values) {
      const content = encodeRecord({
        kind: 'event',
        id: randomUUID(),
        submission: { caller: 'lander', request_sha256: '0'.repeat(64) },
        event: {
          ...{ build_id, ticket_id, progress_trigger: 'many', sequence: 0, attempt: 0, worker: null },
          ...{ time: new Date().toISOString(), state: 'queued', step: null, message: 'Waiting for a worker' },
          ...{ current: null, total: null, progress: 0 },
          ...values,
        },
      });
      channel.sendToQueue(queues.events, content, { persistent: true, contentType: 'application/json' });
    },
    async flush() {
      await channel.waitForConfirms();
    },
    async [Symbol.asyncDispose]() {
      await connection.close();
    },
  };
}
