import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readSigningKey } from '#lib/apt/signing-key.ts';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';

/** Key material as a server may hand it out: exactly the key that was announced comes out of it, or `ppa.key`. */

const MiB = 2 ** 20;
const home = await mkdtemp(join(tmpdir(), 'imagebuilder-keys-'));
const signal = new AbortController().signal;

const gpg = async (args: readonly string[], input?: string) =>
  (
    await exec(
      'gpg',
      ['--homedir', home, '--batch', '--no-tty', '--pinentry-mode', 'loopback', '--passphrase', '', ...args],
      input === undefined ? {} : { input },
    )
  ).stdout;

async function makeKey(name: string, expires = 'never'): Promise<string> {
  await gpg(['--quick-generate-key', name, 'ed25519', 'sign', expires]);
  const listing = await gpg(['--with-colons', '--list-keys', `=${name}`]);
  return /^fpr:::::::::([0-9A-F]{40}):/m.exec(listing)?.[1] ?? '';
}

const armored = (...fingerprints: readonly string[]) => gpg(['--armor', '--export', ...fingerprints]);
const read = (material: string, fingerprint: string) =>
  readSigningKey(material, fingerprint, 'ppa:project/name', {
    workDirectory: tmpdir(),
    unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
    signal,
  });
/** Primary keys and user ids in key material. */
const content = async (material: string): Promise<string[]> =>
  (await gpg(['--with-colons', '--show-keys'], material))
    .split('\n')
    .map((line) => line.split(':')[0] ?? '')
    .filter((kind) => ['pub', 'sec', 'uid'].includes(kind));

let wanted = '';
let other = '';

test.before(async () => {
  wanted = await makeKey('wanted');
  other = await makeKey('other');
});
test.after(async () => {
  await exec('gpgconf', ['--homedir', home, '--kill', 'all']);
  await rm(home, { recursive: true, force: true });
});

async function refusal(material: string, fingerprint = wanted): Promise<ImageBuilderError> {
  const error: unknown = await read(material, fingerprint).then(
    () => assert.unreachable('it was taken'),
    (thrown: unknown) => thrown,
  );
  assert.instance(error, ImageBuilderError, String(error));
  assert.is((error as ImageBuilderError).code, 'ppa.key', (error as Error).message);
  return error as ImageBuilderError;
}

test('of several keys only the one that was announced is taken', async () => {
  const key = await read(await armored(wanted, other), wanted);
  assert.is(key.fingerprint, wanted);
  assert.equal(await content(key.armored), ['pub', 'uid']);
  assert.not.match(await gpg(['--with-colons', '--show-keys'], key.armored), new RegExp(other));
});

test('the same material is read once, and anything else anew', async () => {
  const material = await armored(wanted);
  const key = await read(material, wanted);
  const nowhere = (text: string, fingerprint: string) =>
    readSigningKey(text, fingerprint, 'ppa:project/name', {
      workDirectory: join(home, 'missing'),
      unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
      signal,
    }).catch((error: NodeJS.ErrnoException) => error.code);
  assert.equal(await nowhere(material, wanted), key);
  assert.is(await nowhere(material, other), 'ENOENT');
  assert.is(await nowhere(`${material}\n`, wanted), 'ENOENT');
});

test('another key, no key, half a key and noise are refused', async () => {
  const whole = await armored(wanted);
  await refusal(await armored(other));
  for (const material of [
    'no key',
    '<html>not found</html>',
    '\0\0\0',
    whole.slice(0, whole.length / 2),
    whole.replace(/[A-Za-z0-9+/]{20}/g, 'A'.repeat(20)),
  ]) {
    await refusal(material);
  }
  await refusal('-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n');
});

test('a work directory whose path is too long for a socket makes no difference', async () => {
  const workDirectory = join(home, 'x'.repeat(100));
  await mkdir(workDirectory);
  const { fingerprint } = await readSigningKey(await armored(wanted), wanted, 'ppa:project/name', {
    workDirectory,
    unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
    signal,
  });
  assert.is(fingerprint, wanted);
});

test('of a private key nothing but its public half gets any further', async () => {
  const secret = await gpg(['--armor', '--export-secret-keys', wanted]);
  assert.ok((await content(secret)).includes('sec'));
  const taken: unknown = await read(secret, wanted).catch((error: unknown) => error);
  if (taken instanceof ImageBuilderError) assert.is(taken.code, 'ppa.key');
  else assert.equal(await content((taken as { armored: string }).armored), ['pub', 'uid']);
});

test('a megabyte of noise, and of one thing over and over, is refused in time', async () => {
  const lines = 'QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\n'.repeat(MiB / 65);
  await refusal(`-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${lines}-----END PGP PUBLIC KEY BLOCK-----\n`);
  await refusal('x'.repeat(MiB));
  await refusal('-----BEGIN PGP PUBLIC KEY BLOCK-----\n'.repeat(20_000));
});

test('a key with hundreds of names, as often as an answer can hold it, is taken once', async () => {
  const many = await makeKey('many');
  const commands = Array.from({ length: 300 }, (_, index) => `adduid\nname number ${index}\n\n\n`).join('');
  await writeFile(join(home, 'commands'), `${commands}save\n`);
  await gpg([
    '--no-auto-check-trustdb',
    '--command-file',
    join(home, 'commands'),
    '--status-fd',
    '2',
    '--edit-key',
    many,
  ]);
  const once = await armored(many);
  const key = await read(once.repeat(Math.floor(MiB / once.length)), many);
  assert.is((await content(key.armored)).filter((kind) => kind === 'pub').length, 1);
});

test('an expired and a revoked key are taken with a word of warning: apt will refuse what they sign', async () => {
  const expired = await makeKey('expired', 'seconds=1');
  const until = Date.now() + 30_000;
  let weakness: string | null = null;
  while (weakness === null && Date.now() < until) ({ weakness } = await read(await armored(expired), expired));
  assert.match(weakness ?? '', /expired/);
  const revoked = await makeKey('revoked');
  const certificate = await exec('sed', ['s/^:-----/-----/', join(home, 'openpgp-revocs.d', `${revoked}.rev`)]);
  await gpg(['--import'], certificate.stdout);
  assert.match((await read(await armored(revoked), revoked)).weakness ?? '', /revoked/);
});

test.run();
