import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { type ChecksumAlgorithm, isMediumList, listedFiles, updateChecksums } from '#lib/medium/checksum-lines.ts';

/** Lists of checksums in every form that programs write, each as the bytes of its file. */

const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');
const digest = (algorithm: ChecksumAlgorithm, content: string) => createHash(algorithm).update(content).digest('hex');
const [old, fresh] = ['old', 'new'].map((content) => (algorithm: ChecksumAlgorithm) => digest(algorithm, content));
const all: readonly ChecksumAlgorithm[] = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'blake2b512'];

const layer = 'casper/minimal.squashfs';
const there = new Set([layer, 'live/Système.squashfs', 'casper/a\\b\n.squashfs', 'casper/b (1).squashfs', 'README']);
/** `/link` leads to the layer. */
function follow(path: string): string | null {
  const plain = path
    .split('/')
    .filter((part) => part !== '.' && part !== '')
    .join('/');
  if (plain === 'link.squashfs') return layer;
  return there.has(plain) ? plain : null;
}

/** The list after all files but `README` have got new content. */
function updated(text: string, path: string): string {
  const digests = new Map(all.map((algorithm) => [algorithm, fresh?.(algorithm) ?? '']));
  return updateChecksums({ path, text }, follow, (file) => (file === 'README' ? undefined : digests));
}

type Digests = (algorithm: ChecksumAlgorithm) => string;
/** Each form as a text with digests, and the name of the list. */
const forms: Readonly<Record<string, readonly [render: (of: Digests) => string, path?: string]>> = {
  'md5sum with ./': [(of) => `${of('md5')}  ./${layer}\n`],
  'md5sum without ./': [(of) => `${of('md5')}  ${layer}\n`],
  'a path from the root': [(of) => `${of('sha256')}  /${layer}\n`],
  'the mark of a binary file': [(of) => `${of('md5')} *./${layer}\n`],
  'one space, and a tabulator, as casper-md5check reads them': [
    (of) => `${of('md5')} ${layer}\n${of('md5')}\t${layer}`,
  ],
  'CR LF': [(of) => `${of('md5')}  ./${layer}\r\n${of('md5')} *${layer}\r\n`],
  'a byte order mark': [(of) => bytes(`\uFEFF${of('md5')}  ./${layer}\n`)],
  'a byte order mark before a comment': [(of) => bytes(`\uFEFF# sums\r\n${of('md5')}  ./${layer}\r\n`)],
  'no line end at the end, and empty lines': [(of) => `\n\n${of('sha1')}  ./${layer}\n\n${of('sha1')}  ./${layer}`],
  'md5sum --tag': [(of) => `MD5 (./${layer}) = ${of('md5')}\n`],
  'several algorithms of BSD in one list': [
    (of) =>
      ['MD5', 'SHA1', 'SHA224', 'SHA256', 'SHA384', 'SHA512']
        .map((tag) => `${tag} (${layer}) = ${of(tag.toLowerCase() as ChecksumAlgorithm)}\r\n`)
        .join(''),
  ],
  'openssl dgst': [(of) => `SHA2-256(${layer})= ${of('sha256')}\nSHA256(./${layer})= ${of('sha256')}`],
  b2sum: [(of) => `${of('blake2b512')}  ./${layer}\n`, 'b2sums.txt'],
  'b2sum --tag': [(of) => `BLAKE2b (${layer}) = ${of('blake2b512')}\n`, 'b2sums.txt'],
  'an escaped name': [
    (of) => `\\${of('md5')}  casper/a\\\\b\\n.squashfs\n\\MD5 (casper/a\\\\b\\n.squashfs) = ${of('md5')}\n`,
  ],
  'brackets in a name': [(of) => `MD5 (casper/b (1).squashfs) = ${of('md5')}\n`],
  'a name that is not ASCII': [(of) => bytes(`${of('md5')}  ./live/Système.squashfs\n`)],
  'a symbolic link to the file': [(of) => `${of('md5')}  ./link.squashfs\n`],
  'a list in a folder, with names of that folder': [(of) => `${of('sha256')}  minimal.squashfs\n`, 'casper/SHA256SUMS'],
  'a list in a folder, with ./': [(of) => `${of('sha256')} *./minimal.squashfs\n`, 'casper/SHA256SUMS'],
  'a list in a folder, with paths of the medium': [(of) => `${of('sha256')}  ./${layer}\n`, 'casper/SHA256SUMS'],
  'a digest alone beside its file': [(of) => `${of('sha256')}\n`, 'casper/minimal.squashfs.sha256'],
  'one line beside its file': [(of) => `${of('md5')}  minimal.squashfs\r\n`, 'casper/minimal.squashfs.md5'],
  'an inline signature': [
    (of) =>
      `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n${of('md5')}  ./${layer}\n-----BEGIN PGP SIGNATURE-----\n\niQ\n-----END PGP SIGNATURE-----\n`,
  ],
};

const unchanged = `${digest('md5', 'r')}  ./README\n# ${layer}\n${digest('md5', 'g')}  ./gone\nodd ${layer}\n`;

for (const [what, [render, path = 'md5sum.txt']] of Object.entries(forms)) {
  test(`digests change alone in lists: ${what}`, () => {
    assert.ok(old && fresh);
    const before = render(old) + (path === 'md5sum.txt' && render(old).endsWith('\n') ? unchanged : '');
    const after = before.replaceAll(/[0-9a-f]{32,128}/g, (hex) => {
      const algorithm = all.find((name) => old(name) === hex);
      return algorithm === undefined ? hex : fresh(algorithm);
    });
    assert.not.equal(after, before);
    assert.ok(isMediumList({ path, text: before }));
    assert.is(updated(before, path), after);
    assert.is(updated(after, path), after);
    assert.ok(listedFiles({ path, text: after }, follow).some(({ hex }) => all.some((name) => fresh(name) === hex)));
  });
}

test('digests in capitals become small, as casper-md5check wants them, and lines of files that no list may have go', () => {
  assert.ok(old && fresh);
  assert.is(updated(`${old('md5').toUpperCase()}  ./${layer}\n`, 'md5sum.txt'), `${fresh('md5')}  ./${layer}\n`);
  const text = `${old('md5')}  ./README\r\n${old('md5')}  ./${layer}\r\n`;
  const left = updateChecksums({ path: 'md5sum.txt', text }, follow, (path) => (path === 'README' ? null : undefined));
  assert.is(left, `${old('md5')}  ./${layer}\r\n`);
});

const refusals: Readonly<Record<string, readonly [text: string, path?: string]>> = {
  'SHA-3': [`SHA3-256 (${layer}) = ${'0'.repeat(64)}\n`],
  'SHA-512/256': [`SHA512/256 (${layer}) = ${'0'.repeat(64)}\n`],
  'BLAKE2b of 256 bits': [`BLAKE2b-256 (${layer}) = ${'0'.repeat(64)}\n`],
  'BLAKE2b of 256 bits by b2sum': [`${'0'.repeat(64)}  ${layer}\n`, 'b2sums.txt'],
  RIPEMD: [`RMD160 (${layer}) = ${'0'.repeat(40)}\n`],
};

for (const [what, [text, path = 'checksums.txt']] of Object.entries(refusals)) {
  test(`a changed file with a checksum that is not computed here is refused: ${what}`, () => {
    assert.ok(isMediumList({ path, text }));
    assert.throws(
      () => updated(text, path),
      (error: unknown) =>
        error instanceof ImageBuilderError &&
        error.code === 'image.unsupported' &&
        error.message.startsWith(`/${path} of the medium has a checksum of /${layer} by an algorithm`),
    );
    const other = text.replace(layer, 'README');
    assert.is(updated(other, path), other);
  });
}

test('a list in UTF-16 is refused, and texts that are no lists are none', () => {
  const line = `${digest('md5', 'old')}  ./${layer}\r\n`;
  for (const text of [`\xff\xfe${[...line].join('\0')}\0`, `\xfe\xff\0${[...line].join('\0')}`]) {
    assert.throws(() => isMediumList({ path: 'md5sum.txt', text }), /is in UTF-16/);
  }
  for (const text of [
    '',
    'no list\n',
    '\xff\xfe\0\x01',
    `${'0'.repeat(31)}  ./x\n`,
    `${'0'.repeat(32)}\n`,
    '(x) = 0',
  ]) {
    assert.not(isMediumList({ path: 'md5sum.txt', text }), text);
  }
});

test.run();
