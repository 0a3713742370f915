import { createServer, type IncomingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { listen } from '../../../lab/servers/listen.ts';

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
  const listening = await listen(server);
  return { ...listening, received };
}
