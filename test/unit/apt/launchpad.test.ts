import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { resolvePpa } from '#lib/apt/launchpad.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { type Launchpad, type PpaRecipe, startLaunchpad } from '../../../lab/servers/launchpad.ts';
import { failure } from '../../failure.ts';

const recipe = (name: string, flaw?: PpaRecipe['flaw'], key: PpaRecipe['key'] = 'ed25519'): PpaRecipe => ({
  owner: 'project',
  name,
  series: ['noble'],
  packages: [],
  key,
  ...(flaw === undefined ? {} : { flaw }),
});

const client = createHttpClient({
  egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
  connectTimeoutMs: 5_000,
  stallTimeoutMs: 5_000,
  userAgent: 'test',
  retry: { attempts: 2, delayMs: 1 },
});
let launchpad: Launchpad;
let workDirectory: string;

test.before(async () => {
  workDirectory = await mkdtemp(join(tmpdir(), 'launchpad-test-'));
  launchpad = await startLaunchpad({
    architectures: ['amd64'],
    ppas: [
      recipe('tools'),
      recipe('c++'),
      recipe('weak', undefined, 'rsa1024'),
      recipe('hidden', 'private'),
      recipe('empty', 'never-published'),
      recipe('forged', 'wrong-key'),
      recipe('unsigned', 'unsigned'),
    ],
  });
});
test.after(async () => {
  await launchpad[Symbol.asyncDispose]();
  await rm(workDirectory, { recursive: true });
  client[Symbol.dispose]();
});

const resolve = (name: string, series = 'noble', owner = 'project') =>
  resolvePpa(
    { owner, name },
    {
      launchpadApiUrl: launchpad.apiUrl,
      ppaUrl: launchpad.ppaUrl,
      series,
      client,
      workDirectory,
      unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
      signal: new AbortController().signal,
    },
  );

test('a PPA is found with its archive and its key, in both forms', async () => {
  for (const name of ['tools', 'c++']) {
    const source = await resolve(name);
    assert.is(source.url, `${launchpad.ppaUrl}/project/${name}/ubuntu`);
    assert.match(source.key.fingerprint, /^[0-9A-F]{40}$/);
    assert.match(source.key.armored, /^-----BEGIN PGP PUBLIC KEY BLOCK-----/);
    const dearmored = Buffer.from(
      source.key.armored
        .split('\n')
        .filter((line) => /^[A-Za-z0-9+/]+=*$/.test(line))
        .join(''),
      'base64',
    );
    assert.equal(Buffer.from(source.key.binary), dearmored);
    assert.is(source.key.weakness, null);
  }
});

test('an owner or a PPA that Launchpad does not know is named', async () => {
  for (const [owner, name] of [
    ['project', 'nothing'],
    ['nobody', 'tools'],
  ] as const) {
    const error = await failure(resolve(name, 'noble', owner));
    assert.is(error.code, 'ppa.not_found');
    assert.match(error.message, `ppa:${owner}/${name}`);
  }
});

test('a PPA that publishes nothing for the series is refused with the series', async () => {
  const error = await failure(resolve('tools', 'trusty'));
  assert.is(error.code, 'ppa.series');
  assert.match(error.message, /ppa:project\/tools publishes nothing for the series "trusty"/);
});

test('an archive with Release and no InRelease counts as published', async () => {
  assert.is((await resolve('unsigned')).ppa.name, 'unsigned');
});

test('a PPA in which nothing was ever published has no key', async () => {
  const error = await failure(resolve('empty'));
  assert.is(error.code, 'ppa.series');
  assert.match(error.message, /nothing was ever published/);
});

test('a private PPA is refused with its reason', async () => {
  const error = await failure(resolve('hidden'));
  assert.is(error.code, 'upstream.forbidden');
  assert.match(error.message, /ppa:project\/hidden is private/);
});

test('a key with another fingerprint than Launchpad says is refused', async () => {
  const error = await failure(resolve('forged'));
  assert.is(error.code, 'ppa.key');
  assert.match(error.message, /fingerprint [0-9A-F]{40}, but Launchpad says [0-9A-F]{40}/);
});

test('a weak key is used, and noticed', async () => {
  assert.match((await resolve('weak')).key.weakness ?? '', /1024 bits/);
});

test('a Launchpad out of order is an upstream failure', async () => {
  launchpad.fault(/^\/devel\//, { kind: 'status', status: 503 });
  const error = await failure(resolve('tools'));
  launchpad.fault(/^\/devel\//, null);
  assert.is(error.fault, 'upstream');
  assert.is(error.retryable, true);
});

test('an answer cut off in its middle is not taken for the whole', async () => {
  launchpad.fault(/InRelease/, { kind: 'status', status: 500 });
  assert.is((await failure(resolve('tools'))).fault, 'upstream');
  launchpad.fault(/InRelease/, null);
});

test('looking up a key leaves no agent and no folder behind', async () => {
  await resolve('tools');
  assert.equal(await readdir(workDirectory), []);
});

test.run();
