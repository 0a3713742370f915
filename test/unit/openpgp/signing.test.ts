import { writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { signFile } from '#lib/openpgp/sign.ts';
import { type OpenPgpKey, readOpenPgpKey } from '#lib/openpgp/signing-key.ts';
import { type Keyring, openKeyring } from '../../openpgp/keyring.ts';
import { temporaryFolder } from '../image/temporary.ts';
import { testWith } from '../with-programs.ts';

/** Signatures of files by keys that gpg has made, as gpgv verifies them. */

const testGpg = testWith('gpg', 'gpg-agent', 'gpgv');
const { signal } = new AbortController();
let keyring: Keyring;

test.before(async () => {
  keyring = await openKeyring();
});
test.after(async () => await keyring[Symbol.asyncDispose]());

const make = (name: string, kind: string, usage = 'sign', life = 'never') =>
  keyring.gpg(['--quick-generate-key', name, kind, usage, life]);

async function fingerprintsOf(name: string): Promise<string[]> {
  const { stdout } = await keyring.gpg(['--with-colons', '--list-secret-keys', name]);
  return stdout.split('\n').flatMap((line) => (line.startsWith('fpr:') ? [line.split(':')[9] ?? ''] : []));
}

function keyOf(text: string, now = new Date()): OpenPgpKey {
  const { key, fault } = readOpenPgpKey(text, now);
  assert.is(fault, null);
  if (key === null) throw new Error('there is no key');
  return key;
}

const faultOf = (text: string, now = new Date()) => readOpenPgpKey(text, now).fault ?? 'no fault';

/** The fingerprint of the key by which gpgv vouches for a file that this key has signed. */
async function signer(key: OpenPgpKey, content = Buffer.from('content')): Promise<string> {
  await using folder = await temporaryFolder();
  const path = folder.file('file');
  await writeFile(path, content);
  const signature = await signFile(path, key, new Date(), signal);
  assert.match(signature, /^-----BEGIN PGP SIGNATURE-----\n\n/);
  await writeFile(folder.file('file.asc'), signature);
  const verdicts = await keyring.verify(folder.file('file.asc'), path);
  const valid = verdicts.find((line) => line.startsWith('VALIDSIG '))?.split(' ') ?? [];
  // RSA, SHA-256, of a binary document.
  assert.equal(valid.slice(7, 10), ['1', '8', '00']);
  await writeFile(path, Buffer.concat([content, Buffer.from('x')]));
  assert.match((await keyring.verify(folder.file('file.asc'), path)).join('\n'), /BADSIG/);
  return valid[1] ?? '';
}

testGpg('a file that an RSA key has signed is vouched for by gpgv, and no other content is', async () => {
  await make('first', 'rsa2048');
  const key = keyOf(await keyring.secretOf('first'));
  assert.equal(await fingerprintsOf('first'), [await signer(key)]);
  await signer(key, Buffer.alloc(0));
  await signer(key, Buffer.alloc(3 * 2 ** 20, 'x'));
  // Numbers with zeros at their beginning are shorter.
  for (let round = 0; round < 5; round += 1) await signer(key, Buffer.from(`content ${round}`));
});

testGpg('the newest subkey for signatures signs, and the primary key may be elsewhere', async () => {
  await make('subkeys', 'rsa2048', 'cert');
  const [primary = ''] = await fingerprintsOf('subkeys');
  await keyring.gpg(['--quick-add-key', primary, 'rsa2048', 'encr', 'never']);
  assert.match(faultOf(await keyring.secretOf('subkeys')), 'has no key for signatures');
  await keyring.gpg(['--quick-add-key', primary, 'rsa2048', 'sign', '1y']);
  const [, , subkey = ''] = await fingerprintsOf('subkeys');
  assert.is(await signer(keyOf(await keyring.secretOf('subkeys'))), subkey);
  const { stdout } = await keyring.gpg(['--armor', '--export-secret-subkeys', primary]);
  assert.is(await signer(keyOf(stdout)), subkey);
  assert.match(faultOf(stdout, new Date(Date.now() + 400 * 86_400_000)), 'has a key that expired on');
  // Without subkeys for signatures, only its public part is there.
  await make('offline', 'rsa2048');
  const offline = await keyring.gpg(['--armor', '--export-secret-subkeys', 'offline']);
  assert.match(faultOf(offline.stdout), /elsewhere, or on a card/);
});

testGpg('a key that has expired, or will have, is refused with the day', async () => {
  await keyring.gpg(['--faked-system-time', '20200101T120000', '--quick-generate-key', 'old', 'rsa2048', 'sign', '1d']);
  const old = await keyring.secretOf('old');
  assert.match(faultOf(old), 'has a key that expired on 2020-01-02; lengthen its life (gpg --quick-set-expire)');
  const { expiresAt } = keyOf(old, new Date('2020-01-01T18:00:00Z'));
  assert.is(expiresAt?.toISOString(), '2020-01-02T12:00:00.000Z');
  // The newest word about a key counts.
  const [fingerprint = ''] = await fingerprintsOf('old');
  await keyring.gpg(['--quick-set-expire', fingerprint, '0']);
  assert.is(keyOf(await keyring.secretOf('old')).expiresAt, null);
});

testGpg('other keys are refused, each with what to do', async () => {
  await make('curve', 'ed25519');
  assert.match(faultOf(await keyring.secretOf('curve')), /algorithm 22, and must have one for RSA.*quick-generate-key/);
  await make('small', 'rsa1024');
  assert.match(faultOf(await keyring.secretOf('small')), 'has a key of 1024 bits, and must have one of 2048 or more');
  await keyring.gpg(['--quick-generate-key', 'locked', 'rsa2048', 'sign', 'never'], 'secret words');
  const locked = await keyring.secretOf('locked', 'secret words');
  assert.match(faultOf(locked), 'has a passphrase, which nobody could enter');
  const two = await keyring.secretOf('first');
  const { stdout } = await keyring.gpg(['--armor', '--export', 'first']);
  assert.match(faultOf(stdout), 'holds a public key; give the private one');
  assert.match(faultOf(`${two}${await keyring.secretOf('small')}`), 'holds several keys');
  assert.match(faultOf(''), /^holds no OpenPGP private key in ASCII armour; make one with: gpg/);
  assert.match(faultOf('x'.repeat(2 ** 20 + 1)), 'has more than 1048576 characters');
  assert.ok(!faultOf(two).includes('BEGIN'));
});

testGpg('a key that is cut or changed anywhere is refused, or signs as before', async () => {
  const text = await keyring.secretOf('first');
  const lines = text.split('\n');
  const fingerprint = keyOf(text).fingerprint.toString('hex');
  for (let line = 3; line < lines.length - 2; line += 1) {
    const cut = readOpenPgpKey([...lines.slice(0, line), '-----END PGP PRIVATE KEY BLOCK-----'].join('\n'), new Date());
    const changed = readOpenPgpKey(lines.toSpliced(line, 1, `AAAA${lines[line]?.slice(4)}`).join('\n'), new Date());
    for (const { key, fault } of [cut, changed]) {
      if (key === null) assert.ok(fault);
      else assert.ok(key.fingerprint.toString('hex').length === fingerprint.length);
    }
  }
});

testGpg('a revoked key is refused', async () => {
  const [fingerprint = ''] = await fingerprintsOf('first');
  await keyring.revoke(fingerprint);
  assert.match(faultOf(await keyring.secretOf('first')), 'has a key that was revoked');
});

test.run();
