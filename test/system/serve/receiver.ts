import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A server that notes what it gets. The first `failures` requests are answered with 503. */
export async function startReceiver(failures = 0) {
  const received: Received[] = [];
  let calls = 0;
  const server = createServer(async (request, response) => {
    const body = await text(request);
    calls += 1;
    response.statusCode = calls <= failures ? 503 : 204;
    if (calls > failures) {
      received.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body });
    }
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
