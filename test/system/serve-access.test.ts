import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, serveStack } from './serve/command.ts';

/** Access to the gateway of `imagebuilder serve`. */

const secrets = await mkdtemp(join(tmpdir(), 'imagebuilder-test-secrets-'));
await writeFile(join(secrets, 'imagebuilder-token'), 'open-sesame\n');
const ownToken = 'b'.repeat(32);
await writeFile(
  join(secrets, 'imagebuilder-tokens'),
  JSON.stringify({ callers: [{ name: 'lander', role: 'read', token: ownToken }] }),
);
const gateway = await serveStack(
  { 'build-image': { handler: 'echo' }, status: { handler: 'echo' }, 'build-worker': { handler: 'echo' } },
  {
    env: {
      IMAGEBUILDER_SECRETS_DIRECTORY: secrets,
      IMAGEBUILDER_PUBLIC_URL: 'https://builder.example/images',
      IMAGEBUILDER_ALLOWED_HOSTS: 'one.example, Two.example',
    },
  },
);
const { url } = gateway;
test.after(async () => {
  await gateway[Symbol.asyncDispose]();
  await rm(secrets, { recursive: true });
});

const authorization = 'Bearer open-sesame';

/** How often a function was called. */
async function callsOf(name: string): Promise<number> {
  const response = await fetch(`${url}/system/functions`, { headers: { authorization } });
  const list = (await response.json()) as { name: string; invocationCount: number }[];
  return list.find((entry) => entry.name === name)?.invocationCount ?? 0;
}

test('with a token every path that starts work or shows it asks for the token', async () => {
  const paths = [
    'POST /api/v1/build_image/',
    'GET /api/v1/imagebuilder/status',
    'POST /openapi.json',
    'GET /function/status/openapi.json/x',
    'GET /async-function/status/openapi.json',
    'GET /system/functions',
    'GET /metrics',
    'POST /function/build-worker',
    'GET /function/build-worker',
    'POST /async-function/build-worker',
    'POST /async-function/build-image',
    'POST /function/nobody',
  ];
  for (const path of paths) {
    const [method = '', target = ''] = path.split(' ');
    for (const given of [undefined, 'Bearer wrong', 'Basic open-sesame', 'Bearer']) {
      const headers: Record<string, string> = given === undefined ? {} : { authorization: given };
      const response = await fetch(`${url}${target}`, { method, headers });
      assert.is(response.status, 401, `${path} with ${given}`);
      assert.match(response.headers.get('www-authenticate') ?? '', 'Bearer');
      assert.is(((await response.json()) as { code: string }).code, 'request.unauthorized');
    }
    for (const valid of [authorization, `Bearer ${ownToken}`]) {
      const headers = { authorization: valid };
      assert.is.not((await fetch(`${url}${target}`, { method, headers })).status, 401, path);
    }
  }
  for (const path of ['/healthz', '/openapi.json', '/api/v1/asyncapi.json', '/function/status/openapi.json']) {
    assert.is((await fetch(`${url}${path}`)).status, 200, `${path} needs none`);
  }
});

test('a call that the gateway refuses leaves an audit line, without the token that it carried', async () => {
  const headers = { authorization: 'Bearer not-the-token' };
  await fetch(`${url}/api/v1/build_image/0?query=1`, { method: 'DELETE', headers });
  await fetch(`${url}/function/made-up`, { method: 'DELETE', headers });
  const audits = await eventually('the audit lines', async () => {
    const lines = gateway
      .log()
      .split('\n')
      .filter((line) => line.includes('"audit"') && line.includes('"DELETE"'));
    return lines.length === 2 && lines.map((line) => JSON.parse(line));
  });
  const line = { caller: 'anonymous', method: 'DELETE', status: 401, code: 'request.unauthorized' };
  const seen = audits.map(({ caller, method, path, status, code }) => ({ caller, method, path, status, code }));
  assert.equal(seen, [
    { ...line, path: '/function/build-image' },
    { ...line, path: 'other' },
  ]);
  assert.not.match(gateway.log(), /not-the-token|query=1/);
});

test('a function wakes the worker from inside, without the token', async () => {
  const before = await callsOf('build-worker');
  const response = await fetch(`${url}/function/build-image/wake`, { method: 'POST', headers: { authorization } });
  assert.is(response.status, 204);
  await eventually('the wake', async () => (await callsOf('build-worker')) > before);
});

/** The status that a browser led here would get. */
async function callAs(headers: Record<string, string>, path = '/function/build-image', method = 'GET') {
  const call = request(`${url}${path}`, { method, headers: { authorization, ...headers }, agent: false }).end();
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  return { status: answer.statusCode, problem: (await json(answer)) as { code?: string; detail?: string } };
}

test('names that lead here without being ours are refused: DNS rebinding', async () => {
  const { port } = new URL(url);
  const foreign = [
    'evil.example',
    `evil.example:${port}`,
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'a@b',
    '.',
  ];
  for (const host of foreign) {
    for (const path of ['/function/build-image', '/async-function/build-worker', '/api/v1/build_image/', '/nothing']) {
      const { status, problem } = await callAs({ host }, path, 'POST');
      assert.is(status, 421, `${host} ${path}`);
      assert.is(problem.code, 'request.host');
      assert.match(problem.detail ?? '', '--allowed-host');
    }
    assert.is((await callAs({ host }, '/healthz')).status, 200, 'a health check may come by any name');
  }
  const ours = ['127.0.0.1', 'LOCALHOST', `localhost:${port}`, 'localhost.', 'a.localhost', '[::1]:1', '192.0.2.7:80'];
  for (const host of [...ours, hostname(), 'builder.example', 'one.example', 'two.example:8000']) {
    assert.is((await callAs({ host })).status, 200, host);
  }
});

test('pages of other sites are refused, our own are not', async () => {
  const { host, port } = new URL(url);
  const foreign = [
    'http://evil.example',
    'null',
    `http://localhost:${port}`,
    'http://127.0.0.1:1',
    'file://',
    'nonsense',
  ];
  for (const origin of foreign) {
    for (const method of ['POST', 'OPTIONS', 'DELETE']) {
      const { status, problem } = await callAs({ origin }, '/function/build-image', method);
      assert.is(status, 403, origin);
      assert.is(problem.code, 'request.origin');
    }
  }
  assert.is((await callAs({ origin: `http://${host}` })).status, 200);
  assert.is((await callAs({ origin: 'https://builder.example' })).status, 200);
});

test.run();
