import { Agent, type ClientRequest, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FunctionProcess } from '../lab/servers/function.ts';

/** Readers of the status as server-sent events. Each opens the next stream when one has ended, as browsers do. */
export interface StreamReaders extends AsyncDisposable {
  /** Documents that all of them have got so far. */
  readonly documents: number;
  /** Streams that were refused, or cut off in the middle, so far. */
  readonly failed: number;
}

/** Starts so many readers; resolves when each has got its first document. */
export async function startReaders(address: FunctionProcess['address'], count: number): Promise<StreamReaders> {
  const agent = new Agent({ keepAlive: false, maxSockets: count });
  const calls = new Set<ClientRequest>();
  const begun = Array.from({ length: count }, () => Promise.withResolvers<void>());
  let documents = 0;
  let failed = 0;
  let stopped = false;

  /** Reads one stream to its end. */
  const read = (first: () => void) =>
    new Promise<void>((resolve) => {
      const headers = { accept: 'text/event-stream' };
      const call = request({ ...address, path: '/events', agent, headers }, (response) => {
        let last = 0;
        response.on('data', (chunk: Buffer) => {
          // An event ends with an empty line; its JSON has no line break.
          for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) {
            if ((at === 0 ? last : chunk[at - 1]) !== 0x0a) continue;
            documents += 1;
            first();
          }
          last = chunk.at(-1) ?? last;
        });
        response.on('end', () => {
          if (response.statusCode !== 200) failed += 1;
        });
        response.on('error', () => {
          failed += 1;
        });
      });
      calls.add(call);
      call.on('error', () => {
        failed += 1;
      });
      call.on('close', () => {
        calls.delete(call);
        resolve();
      });
      call.end();
    });

  const readers = begun.map(async ({ resolve }) => {
    while (!stopped) {
      const failedBefore = failed;
      await read(resolve);
      if (failed > failedBefore && !stopped) await sleep(1_000);
    }
  });
  await Promise.all(begun.map(({ promise }) => promise));
  return {
    get documents() {
      return documents;
    },
    get failed() {
      return failed;
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      for (const call of calls) call.destroy();
      await Promise.all(readers);
      agent.destroy();
    },
  };
}
