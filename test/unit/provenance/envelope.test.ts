import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { parseEnvelope, preAuthenticationEncoding, signStatement } from '#lib/provenance/dsse.ts';
import { keyId, readSigningKey } from '#lib/signing-keys.ts';
import { makeKeys } from './keys.ts';

let folder = '';
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'provenance-'));
});
test.after.each(() => rm(folder, { recursive: true, force: true }));

test('the bytes that are signed are those of the example in the specification', () => {
  const encoded = preAuthenticationEncoding('http://example.com/HelloWorld', Buffer.from('hello world'));
  assert.is(encoded.toString(), 'DSSEv1 29 http://example.com/HelloWorld 11 hello world');
  assert.is(preAuthenticationEncoding('é', Buffer.from('ü')).toString(), 'DSSEv1 2 é 2 ü', 'lengths are in bytes');
});

for (const kind of ['ed25519', 'ecdsa'] as const) {
  test(`openssl verifies what a key for ${kind} of its own has signed, and names the key as keyid does`, async () => {
    const { pem, publicPath } = await makeKeys(kind, folder);
    const { key } = readSigningKey(pem);
    assert.ok(key);
    const text = signStatement({ a: 'ü' }, key);
    const envelope = parseEnvelope(text);
    assert.ok(envelope);
    assert.is(envelope.payload.toString(), '{"a":"ü"}');
    const [signed, signature] = [join(folder, 'signed'), join(folder, 'signature')];
    await writeFile(signed, preAuthenticationEncoding(envelope.payloadType, envelope.payload));
    await writeFile(signature, envelope.signatures[0]?.sig ?? '');
    const { stdout } =
      kind === 'ed25519'
        ? await exec('openssl', [
            ...['pkeyutl', '-verify', '-pubin', '-inkey', publicPath, '-rawin'],
            ...['-in', signed, '-sigfile', signature],
          ])
        : await exec('openssl', ['dgst', '-sha256', '-verify', publicPath, '-signature', signature, signed]);
    assert.match(stdout, /Signature Verified Successfully|Verified OK/);
    const der = join(folder, 'key.der');
    await exec('openssl', ['pkey', '-pubin', '-in', publicPath, '-outform', 'DER', '-out', der]);
    const sum = await exec('sha256sum', [der]);
    assert.is(sum.stdout.split(' ')[0], keyId(key));
    assert.is(envelope.signatures[0]?.keyid, keyId(key));
  });
}

test('keys of other kinds, with a passphrase, public ones and other texts are faults that say what to do', async () => {
  const made = async (...args: string[]) => (await exec('openssl', ['genpkey', '-quiet', ...args])).stdout;
  const curve = (name: string) => made('-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${name}`);
  const faultOf = (pem: string) => readSigningKey(pem).fault ?? 'none';
  assert.match(faultOf(await made('-algorithm', 'RSA')), /kind rsa, and must .*; make one with: openssl genpkey/);
  assert.match(faultOf(await curve('P-384')), /kind ec secp384r1/);
  assert.match(faultOf(await made('-algorithm', 'X25519')), /kind x25519/);
  assert.match(faultOf(await made('-algorithm', 'ED448')), /kind ed448/);
  assert.match(faultOf(await made('-algorithm', 'ED25519', '-aes256', '-pass', 'pass:hidden')), /has a passphrase/);
  assert.match(faultOf('-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n'), /has a passphrase/);
  assert.match(faultOf((await makeKeys('ed25519', folder)).publicPem), /holds no private key in PEM; make one/);
  assert.match(faultOf(''), /holds no private key in PEM/);
  assert.match(faultOf('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'), /cannot be parsed/);
  const { stdout: oldForm } = await exec('openssl', ['ecparam', '-name', 'prime256v1', '-genkey']);
  assert.is(faultOf(oldForm), 'none', 'SEC 1, after its parameters');
});

test.run();
