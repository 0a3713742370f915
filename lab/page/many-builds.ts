import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEventWriter } from './event-writer.ts';
import type { PageService } from './page-service.ts';

/** Records of builds that nobody runs, written into the events stream as functions write them. */
export interface ManyBuilds extends AsyncDisposable {
  /** Ticket of the one build that runs, and of which `progress` writes the next event. */
  readonly running: string;
  progress(progress: number, message: string): Promise<void>;
}

/** Of so many builds, one runs, three of ten wait, and the others have failed. Resolves when the service knows them. */
export async function writeManyBuilds(
  { amqpUrl, client }: Pick<PageService, 'amqpUrl' | 'client'>,
  count: number,
): Promise<ManyBuilds> {
  const known = async () => {
    const { counts } = await client.status();
    return Object.values(counts).reduce((sum, number) => sum + number, 0);
  };
  const knownBefore = await known();
  const writer = await openEventWriter(amqpUrl);
  const { append } = writer;
  const runs = { state: 'running', worker: 'many-1', attempt: 1, sequence: 1 } as const;
  const error = { code: 'ppa.not_found', message: 'there is no PPA ppa:example/tools', step: 'sources' } as const;
  for (let index = 0; index < count - 1; index += 1) {
    const id = randomUUID();
    append(id, `many-${index}`, {});
    if (index % 10 < 3) continue;
    append(id, `many-${index}`, runs);
    append(id, `many-${index}`, {
      ...{ ...runs, state: 'failed', sequence: 2, step: 'sources', message: error.message },
      error: { ...error, fault: 'request', retryable: false },
    });
  }
  const id = randomUUID();
  const running = 'many-running';
  append(id, running, {});
  append(id, running, runs);
  await writer.flush();
  while ((await known()) < knownBefore + count) await sleep(100);
  let sequence = 1;
  return {
    running,
    async progress(progress, message) {
      sequence += 1;
      append(id, running, { ...runs, ...{ sequence, step: 'install', progress, message } });
      await writer.flush();
    },
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
  };
}
