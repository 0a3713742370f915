import { createHmac } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendCallback } from '#lib/worker/callback.ts';
import { startServer, testClient } from '../fetch/with-server.ts';
import { completedEvent } from '../queue/build-event.ts';

const event = completedEvent({ build_id: '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c' });
const client = testClient();
test.after(() => client[Symbol.dispose]());

const options = {
  post: async (url: string, body: string, headers: Readonly<Record<string, string>>) =>
    (await client.postJson(url, body, { headers })).status,
  signingKey: 'the-key',
  durationSeconds: 12.5,
  signal: AbortSignal.timeout(30_000),
};

test('the terminal event arrives once, with the headers of OpenFaaS and a signature that verifies', async () => {
  let body = '';
  await using receiver = await startServer(async (request, response) => {
    body = await text(request);
    response.end();
  });
  const url = `${receiver.url}/hook?key=abc`;
  assert.equal(await sendCallback({ url, callId: 'call-1' }, event, options), { outcome: 'taken' });
  assert.equal(receiver.requests, ['POST /hook?key=abc']);
  const [headers = {}] = receiver.headers;
  assert.equal(JSON.parse(body), event);
  assert.is(headers['x-call-id'], 'call-1');
  assert.is(headers['x-function-name'], 'build-image');
  assert.is(headers['x-function-status'], '200');
  assert.is(headers['x-signature'], `sha256=${createHmac('sha256', 'the-key').update(body).digest('hex')}`);
});

test('a receiver that is overloaded may be tried again, one that refuses may not', async () => {
  await using receiver = await startServer((request, response) => {
    response.writeHead(Number(request.url?.slice(1))).end();
  });
  const outcomes: [number, string][] = [];
  for (const status of [408, 425, 429, 500, 501, 503, 302, 400, 404]) {
    const answer = await sendCallback({ url: `${receiver.url}/${status}`, callId: 'call-1' }, event, options);
    outcomes.push([status, answer.outcome]);
    assert.match('reason' in answer ? answer.reason : '', `it answered ${status}`);
  }
  const failed = [408, 425, 429, 500, 501, 503].map((status) => [status, 'failed']);
  assert.equal(outcomes, [...failed, ...[302, 400, 404].map((status) => [status, 'refused'])]);
});

test('a receiver that is away may be tried again', async () => {
  const { outcome } = await sendCallback({ url: 'http://127.0.0.1:9/', callId: 'call-1' }, event, options);
  assert.is(outcome, 'failed');
});

test('without a key there is no signature', async () => {
  await using receiver = await startServer((_request, response) => response.end());
  await sendCallback({ url: receiver.url, callId: 'call-1' }, event, { ...options, signingKey: null });
  assert.is(receiver.headers.length, 1);
  assert.is(receiver.headers[0]?.['x-signature'], undefined);
});

test.run();
