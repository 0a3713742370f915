import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import type { BuildStatus } from '#lib/api/status.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { statusOf } from '../../unit/client/fixture.ts';

export interface ApiCall {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly body: unknown;
}

export type Answer = { readonly status: number; readonly body: unknown };

/**
 * Answers as the API does, one build at a time: each look at the status takes the next of `looks`, and stays with the
 * last; `submission` and `cancellation` are the answers to POST and DELETE.
 */
export async function startApi(options: {
  looks?: readonly (BuildStatus | Answer | 'unknown')[];
  submission?: Answer;
  cancellation?: Answer;
}) {
  const calls: ApiCall[] = [];
  const looks = [...(options.looks ?? [])];
  const server = createServer(async (request, response) => {
    const content = await text(request);
    const { method = '', url = '' } = request;
    calls.push({
      method,
      url,
      authorization: request.headers.authorization,
      body: content === '' ? undefined : JSON.parse(content),
    });
    const answer = (): Answer => {
      if (method === 'POST') return options.submission ?? { status: 500, body: {} };
      if (method === 'DELETE') return options.cancellation ?? { status: 500, body: {} };
      const look = looks.length > 1 ? looks.shift() : looks[0];
      if (look === undefined || look === 'unknown') return { status: 200, body: statusOf([]) };
      return 'status' in look ? look : { status: 200, body: statusOf([look]) };
    };
    const { status, body } = answer();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const listening = await listen(server);
  return { ...listening, calls };
}
