import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendCallback } from '#lib/worker/callback.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { completedEvent } from '../queue/build-event.ts';

const event = completedEvent({ build_id: '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c' });

async function withReceiver(
  statuses: number[],
  body: (url: string, received: { headers: IncomingHttpHeaders; body: string }[]) => Promise<void>,
) {
  const received: { headers: IncomingHttpHeaders; body: string }[] = [];
  const server = createServer(async (request, response) => {
    received.push({ headers: request.headers, body: await text(request) });
    response.statusCode = statuses[received.length - 1] ?? 200;
    response.end();
  });
  await using listening = await listen(server);
  await body(`${listening.url}/hook?key=abc`, received);
}

const options = {
  post: async (url: string, body: string, headers: Readonly<Record<string, string>>) => {
    const answer = await fetch(url, { method: 'POST', body, headers });
    await answer.arrayBuffer();
    return answer.status;
  },
  signingKey: 'the-key',
  durationSeconds: 12.5,
  signal: AbortSignal.timeout(30_000),
};

test('the terminal event arrives once, with the headers of OpenFaaS and a signature that verifies', async () => {
  await withReceiver([200], async (url, received) => {
    assert.equal(await sendCallback({ url, callId: 'call-1' }, event, options), { outcome: 'taken' });
    assert.is(received.length, 1);
    const [call] = received;
    assert.equal(JSON.parse(call?.body ?? ''), event);
    assert.is(call?.headers['x-call-id'], 'call-1');
    assert.is(call?.headers['x-function-name'], 'build-image');
    assert.is(call?.headers['x-function-status'], '200');
    const signature = createHmac('sha256', 'the-key')
      .update(call?.body ?? '')
      .digest('hex');
    assert.is(call?.headers['x-signature'], `sha256=${signature}`);
  });
});

test('a receiver that is overloaded may be tried again, one that refuses may not', async () => {
  const outcomes: [number, string][] = [];
  for (const status of [408, 425, 429, 500, 501, 503, 302, 400, 404]) {
    await withReceiver([status], async (url) => {
      const answer = await sendCallback({ url, callId: 'call-1' }, event, options);
      outcomes.push([status, answer.outcome]);
      assert.match('reason' in answer ? answer.reason : '', `it answered ${status}`);
    });
  }
  const failed = [408, 425, 429, 500, 501, 503].map((status) => [status, 'failed']);
  assert.equal(outcomes, [...failed, ...[302, 400, 404].map((status) => [status, 'refused'])]);
});

test('a receiver that is away may be tried again', async () => {
  const { outcome } = await sendCallback({ url: 'http://127.0.0.1:9/', callId: 'call-1' }, event, options);
  assert.is(outcome, 'failed');
});

test('without a key there is no signature', async () => {
  await withReceiver([200], async (url, received) => {
    await sendCallback({ url, callId: 'call-1' }, event, { ...options, signingKey: null });
    assert.is(received[0]?.headers['x-signature'], undefined);
  });
});

test.run();
