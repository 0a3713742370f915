import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { sendProblem } from './answer.ts';
import type { AsyncCall, AsyncQueue } from './async-queue.ts';
import { findRoute } from './routes.ts';

/** A call without content, as a timer or a wake makes it. `headers` are the gateway's own. */
export function emptyCall(id: string, headers: readonly string[]): AsyncCall {
  return {
    id,
    method: 'POST',
    path: '/',
    headers: [...headers, 'Content-Length', '0'],
    body: Buffer.alloc(0),
    callbackUrl: undefined,
  };
}

/**
 * The functions' own way to wake each other: a Unix socket in the gateway's runtime directory, which only this user can
 * enter. So a wake needs no token, even where every other call needs one. The socket takes POSTs of
 * `/async-function/NAME` and passes none of their content on.
 */
export async function listenForWakes(
  socketPath: string,
  queues: ReadonlyMap<string, AsyncQueue>,
  log: Log,
): Promise<Server> {
  const server = createServer((request, response) => {
    const route = findRoute(request.url ?? '/');
    const queue = route.kind === 'async-function' ? queues.get(route.name) : undefined;
    try {
      if (queue === undefined || request.method !== 'POST') {
        throw new ImageBuilderError('request.not_found', `there is no function to wake at ${request.url}`);
      }
      const id = randomUUID();
      queue.add(emptyCall(id, ['X-Call-Id', id]));
      response.writeHead(202, { 'content-length': 0 }).end();
    } catch (error) {
      log.info('wake left out', { error });
      sendProblem(response, error);
    }
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return server;
}
