import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { signStatement } from '#lib/provenance/dsse.ts';
import { provenanceStatement } from '#lib/provenance/statement.ts';
import { findSubject, openProvenance } from '#lib/provenance/verify.ts';
import { keyId, readSigningKey } from '#lib/signing-keys.ts';
import { makeKeys } from './keys.ts';

/** `imagebuilder verify`, and the script in docs/artifacts.md, on real files. */

const repository = join(import.meta.dirname, '../../..');
let folder = '';
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'verify-'));
});
test.after.each(() => rm(folder, { recursive: true, force: true }));

const content = 'an image';
const checksums = {
  sha256: createHash('sha256').update(content).digest('hex'),
  sha512: createHash('sha512').update(content).digest('hex'),
};

function statement(subjects = [{ name: 'noble-T-1.qcow2', digest: checksums }]) {
  return provenanceStatement({
    subjects,
    externalParameters: {},
    internalParameters: {},
    materials: [],
    ...{ builderId: 'urn:imagebuilder:builder', version: '1.0.0', buildId: 'a-build' },
    ...{ startedAt: new Date(0), finishedAt: new Date(1000) },
  });
}

async function run(file: string, args: readonly string[]) {
  const { exitCode, stdout, stderr } = await exec(process.execPath, [file, ...args], { okExitCodes: [0, 1, 2] });
  return { exitCode, stdout, stderr };
}

/** Files of a signed image, and the command for them. */
async function signed(kind: 'ed25519' | 'ecdsa' = 'ed25519') {
  const { pem, publicPath } = await makeKeys(kind, folder);
  const { key } = readSigningKey(pem);
  if (key === null) throw new Error('the key is not read');
  const [image, provenance] = [join(folder, 'image.qcow2'), join(folder, 'image.provenance.json')];
  await writeFile(image, content);
  await writeFile(provenance, signStatement(statement(), key));
  const verify = (...more: string[]) =>
    run(join(repository, 'bin/imagebuilder.ts'), ['verify', image, provenance, '--key', publicPath, ...more]);
  return { key, image, provenance, publicPath, verify };
}

for (const kind of ['ed25519', 'ecdsa'] as const) {
  test(`a signed image is verified by the command and by the documented script: ${kind}`, async () => {
    const { key, image, provenance, publicPath, verify } = await signed(kind);
    const { exitCode, stdout } = await verify();
    assert.match(stdout, /is noble-T-1.qcow2, as the provenance vouches\n {2}build {4}a-build\n/);
    assert.is(exitCode, 0);
    const { stdout: json } = await verify('--json');
    assert.equal(JSON.parse(json), {
      ...{ verified: true, name: 'noble-T-1.qcow2', size: content.length, checksums, key: keyId(key) },
      ...{ build_id: 'a-build', builder: 'urn:imagebuilder:builder', finished: '1970-01-01T00:00:01.000Z' },
    });

    const page = await readFile(join(repository, 'docs/artifacts.md'), 'utf8');
    const [, script = ''] = /<!-- script: verify.mjs -->\n```js\n([^`]*`[^`]*`[^`]*)```/.exec(page) ?? [];
    const path = join(folder, 'verify.mjs');
    await writeFile(path, script);
    assert.is((await run(path, [image, provenance, publicPath])).stdout, 'verified\n');
    await writeFile(image, 'another image');
    assert.match((await run(path, [image, provenance, publicPath])).stderr, /is about other files/);
    const other = await makeKeys(kind, folder, 'other');
    assert.match((await run(path, [image, provenance, other.publicPath])).stderr, /signature does not fit/);
  });
}

test('a provenance that does not vouch for the image ends with 1 and the reason', async () => {
  const { image, provenance, verify } = await signed();
  const refused = async (reason: RegExp) => {
    const { exitCode, stdout, stderr } = await verify();
    assert.match(stderr, reason);
    assert.equal([exitCode, stdout], [1, '']);
  };
  await writeFile(image, 'another image');
  await refused(/does not vouch for .*the provenance is about "noble-T-1.qcow2" \(sha256 "[0-9a-f]{64}"\)/);
  await writeFile(provenance, '{}');
  await refused(/not a DSSE envelope/);
  await truncate(provenance, 17 * 1024 * 1024);
  await refused(/larger than 16777216 bytes/);
});

test('each fault of a provenance has its own reason', async () => {
  const { key, provenance } = await signed();
  let text = await readFile(provenance, 'utf8');
  const envelope = JSON.parse(text);
  const write = (changes: object) => {
    text = JSON.stringify({ ...envelope, ...changes });
  };
  const refused = (reason: RegExp) => {
    const opened = openProvenance(text, key);
    const found = 'refusal' in opened ? opened : findSubject(opened.statement, checksums);
    assert.match('refusal' in found ? found.refusal : 'none', reason);
  };

  const forged = Buffer.from(JSON.stringify({ ...statement(), subject: [] })).toString('base64');
  write({ payload: forged });
  refused(/changed after it was signed/);
  write({ payloadType: 'text/plain' });
  refused(/changed after it was signed/);
  write({ signatures: [] });
  refused(/carries no signature/);
  write({ signatures: [{ sig: 'AAAA' }] });
  refused(/no signature of this key that fits/);

  const other = readSigningKey((await makeKeys('ecdsa', folder, 'other')).pem).key;
  assert.ok(other);
  text = signStatement(statement(), other);
  refused(new RegExp(`signed by another key: "${keyId(other)}", and not by this one, ${keyId(key)}`));

  text = signStatement(statement([]), key);
  refused(/names no file/);
  text = signStatement({ ...statement(), predicateType: 'https://example.com/other' }, key);
  refused(/no in-toto statement of SLSA provenance v1/);
  const half = [{ name: 'a', digest: { ...checksums, sha512: '0'.repeat(128) } }];
  text = signStatement(statement(half), key);
  refused(/the provenance is about/);
  text = signStatement({ ...statement(), subject: [{ digest: { md5: '0' } }] }, key);
  refused(/the provenance is about/);

  for (text of ['', 'null', '[]', '{"payload":"?","payloadType":"","signatures":[]}']) refused(/not a DSSE envelope/);
});

test('each of several signatures is tried, whatever name it has, and base64 of either alphabet', async () => {
  const { key, provenance } = await signed();
  const { payload, payloadType, signatures } = JSON.parse(await readFile(provenance, 'utf8'));
  const sig = signatures[0].sig.replaceAll('+', '-').replaceAll('/', '_');
  const both = [
    { keyid: 'other', sig: 'AAAA' },
    { keyid: 'wrong', sig },
  ];
  assert.ok('statement' in openProvenance(JSON.stringify({ payload, payloadType, signatures: both }), key));
});

test('files that cannot be read and keys of no use end with 2', async () => {
  const { image, provenance, publicPath } = await signed();
  const verify = async (...args: string[]) => {
    const { exitCode, stderr } = await run(join(repository, 'bin/imagebuilder.ts'), ['verify', ...args]);
    assert.is(exitCode, 2);
    return stderr;
  };
  assert.match(await verify(image, provenance, '--key', join(folder, 'provenance.key')), /holds a private key; give/);
  assert.match(await verify(image, provenance, '--key', '/dev/zero'), /holds no public key in PEM/);
  assert.match(
    await verify(image, join(folder, 'none'), '--key', publicPath),
    /none cannot be read: it does not exist/,
  );
  assert.match(await verify(folder, provenance, '--key', publicPath), /cannot be read: it is a folder/);
  assert.match(await verify('/dev/zero', provenance, '--key', publicPath), /it is no regular file/);
});

test.run();
