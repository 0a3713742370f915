import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, serveStack } from './serve/command.ts';

/** Who may call the gateway of `imagebuilder serve`. */

const secrets = await mkdtemp(join(tmpdir(), 'imagebuilder-test-secrets-'));
await writeFile(join(secrets, 'imagebuilder-token'), 'open-sesame\n');
const ownToken = 'b'.repeat(32);
await writeFile(
  join(secrets, 'imagebuilder-tokens'),
  JSON.stringify({ callers: [{ name: 'lander', role: 'read', token: ownToken }] }),
);
const gateway = await serveStack(
  { 'build-image': { handler: 'echo' }, status: { handler: 'echo' }, 'build-worker': { handler: 'echo' } },
  { env: { IMAGEBUILDER_SECRETS_DIRECTORY: secrets } },
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

test('with a token every path that starts work or tells of it asks for the token', async () => {
  const paths = [
    'POST /api/v1/build_image/',
    'GET /api/v1/imagebuilder/status',
    'GET /openapi.json',
    'GET /system/functions',
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
  assert.is((await fetch(`${url}/healthz`)).status, 200, 'a health check needs none');
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

test.run();
