import { tmpdir } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { resolvePpa } from '#lib/apt/launchpad.ts';
import { loadConfig } from '#lib/config/load.ts';
import type { ImageBuilderError } from '#lib/errors.ts';
import { type Fault, type FaultyServer, startFaultyServer } from '../../lab/servers/faulty.ts';
import { type Launchpad, startLaunchpad } from '../../lab/servers/launchpad.ts';
import { rejection, testClient } from '../unit/fetch/with-server.ts';

/** How a build copes with faults of Launchpad, or of the server of PPAs. */

let launchpad: Launchpad;
let server: FaultyServer;
const client = testClient({ stallTimeoutMs: 150 });
const patient = testClient();

test.before(async () => {
  const ppa = { owner: 'project', name: 'tools', series: ['noble'], packages: [], key: 'ed25519' } as const;
  launchpad = await startLaunchpad({ architectures: ['amd64'], ppas: [ppa] });
  server = await startFaultyServer(launchpad.ppaUrl);
});
test.after(async () => {
  client[Symbol.dispose]();
  patient[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  await launchpad[Symbol.asyncDispose]();
});
test.after.each(() => server.mend());

const resolve = (http = client) =>
  resolvePpa(
    { owner: 'project', name: 'tools' },
    {
      launchpadApiUrl: `${server.url}/devel`,
      ppaUrl: server.url,
      series: 'noble',
      client: http,
      workDirectory: tmpdir(),
      unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
      signal: new AbortController().signal,
    },
  );

async function failure(): Promise<ImageBuilderError> {
  return (await rejection(resolve())) as ImageBuilderError;
}

const archive = /^\/devel\/~project\/\+archive\/ubuntu\/tools$/;
const key = /getSigningKeyData/;
const release = /InRelease$/;
const places = [
  ['Launchpad’s API', archive, 'Launchpad cannot be asked about ppa:project/tools: '],
  ['the API’s signing key', key, 'Launchpad cannot be asked about ppa:project/tools: '],
  ['the server of PPAs', release, 'ppa:project/tools cannot be reached: '],
] as const;

const faults: readonly (readonly [string, Fault, { code: string; retryable: boolean }])[] = [
  ['is silent', { kind: 'silent' }, { code: 'upstream.unreachable', retryable: true }],
  ['answers 429', { kind: 'status', status: 429 }, { code: 'upstream.status', retryable: true }],
  ['answers 500', { kind: 'status', status: 500 }, { code: 'upstream.status', retryable: true }],
  ['answers 503', { kind: 'status', status: 503 }, { code: 'upstream.status', retryable: true }],
  ['answers 403', { kind: 'status', status: 403 }, { code: 'upstream.forbidden', retryable: false }],
  ['redirects in a loop', { kind: 'redirect', to: '/devel/~x' }, { code: 'upstream.unusable', retryable: false }],
  [
    'redirects to a refused address',
    { kind: 'redirect', to: 'http://[fd00:ec2::254]/' },
    { code: 'egress.refused', retryable: false },
  ],
];

for (const [place, path, beginning] of places) {
  for (const [what, fault, expected] of faults) {
    test(`${place} ${what}: ${expected.code}, with the PPA`, async () => {
      if (fault.kind === 'redirect' && fault.to.startsWith('/')) server.fault(/~x$/, fault);
      server.fault(path, fault);
      const error = await failure();
      assert.is(error.code, expected.code, error.message);
      assert.is(error.retryable, expected.retryable);
      assert.ok(error.message.startsWith(beginning), error.message);
    });
  }

  for (const [what, fault] of [
    ['is silent', { kind: 'silent' }],
    ['cuts the connection', { kind: 'cut', afterBytes: 10 }],
    ['answers 503', { kind: 'status', status: 503, headers: { 'retry-after': '0' } }],
  ] as const) {
    test(`${place} ${what} once: the PPA is found all the same`, async () => {
      server.fault(path, fault, 1);
      assert.match((await resolve()).key.fingerprint, /^[0-9A-F]{40}$/);
    });
  }
}

test('garbage, an answer of another shape, and a huge one are named as such and not tried again', async () => {
  for (const body of ['<html>', '{"signing_key_fingerprint": 7}', '[]', JSON.stringify('x'.repeat(2_000_000))]) {
    server.mend();
    server.fault(archive, { kind: 'body', body });
    const before = server.requests.length;
    const error = await failure();
    assert.is(error.code, 'upstream.unusable', error.message);
    assert.match(error.message, 'ppa:project/tools');
    assert.is(server.requests.length, before + 1);
  }
});

test('a key that is none, is cut short, or is another one is not used', async () => {
  for (const body of ['"-----BEGIN PGP PUBLIC KEY BLOCK-----"', '""', 'null', '"no key"']) {
    server.mend();
    server.fault(key, { kind: 'body', body });
    const error = await failure();
    assert.ok(['ppa.key', 'upstream.unusable'].includes(error.code), `${error.code}: ${error.message}`);
    assert.match(error.message, 'ppa:project/tools');
    assert.is(error.fault, 'upstream');
  }
});

test('an archive that is there without its key is ppa.key', async () => {
  server.fault(key, { kind: 'status', status: 404 });
  const error = await failure();
  assert.is(error.code, 'ppa.key');
  assert.match(error.message, 'does not give the signing key of ppa:project/tools');
});

test('an API that drips is not waited for without end', async () => {
  server.fault(archive, { kind: 'drip', everyMs: 20 });
  const error = await failure();
  assert.is(error.code, 'upstream.unreachable');
  assert.match(error.message, 'bytes a second');
});

test('only Launchpad and the PPA are asked: no keyserver has a part in it', async () => {
  const before = server.requests.length;
  await resolve(patient);
  assert.equal(
    server.requests.slice(before).map((request) => request.replace(/^.*\//, '')),
    ['tools', 'tools?ws.op=getSigningKeyData', 'InRelease'],
  );
});

test.run();
