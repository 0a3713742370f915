import { createHmac } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readSecrets } from '#lib/config/secrets.ts';
import { sendCallback, signatureOf } from '#lib/worker/callback.ts';
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
  assert.equal(await sendCallback({ url, callId: 'call-1', trace: null }, event, options), { outcome: 'taken' });
  assert.equal(receiver.requests, ['POST /hook?key=abc']);
  const [headers = {}] = receiver.headers;
  assert.equal(JSON.parse(body), event);
  assert.is(headers['x-call-id'], 'call-1');
  assert.is(headers['x-function-name'], 'build-image');
  assert.is(headers['x-function-status'], '200');
  assert.is(headers['x-start-time'], String(BigInt(Date.parse(event.time) - 12_500) * 1_000_000n));
  assert.is(headers['x-duration-seconds'], '12.500000');
  assert.is(headers['x-signature'], `sha256=${createHmac('sha256', 'the-key').update(body).digest('hex')}`);
});

test('a receiver that is overloaded may be tried again, one that refuses may not', async () => {
  await using receiver = await startServer((request, response) => {
    response.writeHead(Number(request.url?.slice(1))).end();
  });
  const outcomes: [number, string][] = [];
  for (const status of [408, 425, 429, 500, 501, 503, 302, 400, 404]) {
    const answer = await sendCallback(
      { url: `${receiver.url}/${status}`, callId: 'call-1', trace: null },
      event,
      options,
    );
    outcomes.push([status, answer.outcome]);
    assert.match('reason' in answer ? answer.reason : '', `it answered ${status}`);
  }
  const failed = [408, 425, 429, 500, 501, 503].map((status) => [status, 'failed']);
  assert.equal(outcomes, [...failed, ...[302, 400, 404].map((status) => [status, 'refused'])]);
});

test('a receiver that is away may be tried again', async () => {
  const { outcome } = await sendCallback({ url: 'http://127.0.0.1:9/', callId: 'call-1', trace: null }, event, options);
  assert.is(outcome, 'failed');
});

test('without a key there is no signature', async () => {
  await using receiver = await startServer((_request, response) => response.end());
  await sendCallback({ url: receiver.url, callId: 'call-1', trace: null }, event, { ...options, signingKey: null });
  assert.is(receiver.headers.length, 1);
  assert.is(receiver.headers[0]?.['x-signature'], undefined);
});

test('the signature is that of the test vector in docs/api.md, with the key as the worker reads it from its secret', async () => {
  const docs = await readFile(join(import.meta.dirname, '../../../docs/api.md'), 'utf8');
  const [, section = ''] = docs.split('### The signature\n');
  const row = (name: string, pattern: RegExp) =>
    pattern.exec(section.split('\n').find((line) => line.startsWith(`| ${name} |`)) ?? '')?.[1] ?? '';
  const file = Buffer.from(row('File of the secret', /`([0-9a-f ]+)`/).replaceAll(' ', ''), 'hex');
  const key = row('Key', /`([^`]+)`/);
  const body = row('Body', /`([^`]+)`/);
  assert.ok(file.length > Buffer.byteLength(key) && body.startsWith('{'), 'the vector is found');
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-'));
  try {
    await writeFile(join(directory, 'callback-signing-key'), file);
    const { callbackSigningKey } = readSecrets(directory, 'build-worker');
    assert.is(callbackSigningKey, key);
    assert.is(signatureOf(body, callbackSigningKey ?? ''), row('Header', /`X-Signature: ([^`]+)`/));
    await writeFile(join(directory, 'callback-signing-key'), '\ufeff \n\u00a0a\tb \u2003\v\f\r\n');
    assert.is(readSecrets(directory, 'build-worker').callbackSigningKey, 'a\tb');
    await writeFile(join(directory, 'callback-signing-key'), Buffer.from([0x61, 0xff]));
    assert.throws(() => readSecrets(directory, 'build-worker'), 'callback-signing-key is not text in UTF-8');
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
