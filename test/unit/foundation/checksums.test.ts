import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkedFile, isChecksumList, isChecksumName, parseChecksums, parseDigest } from '#lib/checksums.ts';

const hex = (length: number, digit = 'a') => digit.repeat(length);
const sha256 = { algorithm: 'sha256', hex: hex(64) } as const;
const sha384 = { algorithm: 'sha384', hex: hex(96) } as const;
const sha512 = { algorithm: 'sha512', hex: hex(128) } as const;

test('the lines of every tool are read', () => {
  const lines: readonly [string, unknown][] = [
    [`${hex(64)}  disk.img`, { path: 'disk.img', digest: sha256 }],
    [`${hex(64)} *disk.img`, { path: 'disk.img', digest: sha256 }],
    [`${hex(64)}\tdisk.img`, { path: 'disk.img', digest: sha256 }],
    [`${hex(64, 'A')}  ./amd64/disk.img  `, { path: './amd64/disk.img', digest: sha256 }],
    [`\\${hex(64)}  a\\\\b\\nc`, { path: 'a\\b\nc', digest: sha256 }],
    [`${hex(96)}  disk.img`, { path: 'disk.img', digest: sha384 }],
    [`${hex(128)}  my disk (1).img`, { path: 'my disk (1).img', digest: sha512 }],
    [`SHA256 (disk (1).img) = ${hex(64)}`, { path: 'disk (1).img', digest: sha256 }],
    [`SHA512 (disk.img) = ${hex(128)}`, { path: 'disk.img', digest: sha512 }],
    [`SHA2-256(disk.img)= ${hex(64)}`, { path: 'disk.img', digest: sha256 }],
    [`SHA384(disk.img)= ${hex(96)}`, { path: 'disk.img', digest: sha384 }],
    [hex(64), { path: null, digest: sha256 }],
    [`${hex(32)}  disk.img`, { path: 'disk.img', digest: null }],
    [`MD5 (disk.img) = ${hex(32)}`, { path: 'disk.img', digest: null }],
    [`BLAKE2b (disk.img) = ${hex(128)}`, { path: 'disk.img', digest: null }],
    [`SHA3-256(disk.img)= ${hex(64)}`, { path: 'disk.img', digest: null }],
  ];
  for (const [line, entry] of lines) assert.equal(parseChecksums(line), [entry], line);
  for (const line of ['', '# a comment', 'Hash: SHA256', 'a text', `${hex(63)}  disk.img`, 'x (y) = z']) {
    assert.equal(parseChecksums(line), [], line);
  }
});

test('a byte order mark, any line ending and the frame of a signature are no hindrance', () => {
  const list = `\uFEFF${hex(64)}  one\r\n${hex(64)}  two\r${hex(64)}  three`;
  assert.equal(
    parseChecksums(list).map(({ path }) => path),
    ['one', 'two', 'three'],
  );
  const signed = [
    `${hex(64)}  outside`,
    '-----BEGIN PGP SIGNED MESSAGE-----',
    'Hash: SHA256',
    '',
    `${hex(64)}  inside`,
    `- ${hex(64)}  escaped`,
    '-----BEGIN PGP SIGNATURE-----',
    '',
    hex(64),
    '-----END PGP SIGNATURE-----',
    `${hex(64)}  after`,
  ].join('\n');
  assert.equal(
    parseChecksums(signed).map(({ path }) => path),
    ['inside', 'escaped'],
  );
  assert.ok(isChecksumList(signed));
});

test('lines of b2sum(1), which look like those of sha512sum(1), are not taken for them', () => {
  assert.equal(parseChecksums(`${hex(128)}  disk.img`, 'B2SUMS'), [{ path: 'disk.img', digest: null }]);
});

test('a list is known by its first line, or by its name', () => {
  assert.ok(isChecksumList(`# Cloud-42.qcow2: 123 bytes\nSHA256 (Cloud-42.qcow2) = ${hex(64)}\n`));
  assert.ok(isChecksumList(`${hex(128)}\n`));
  for (const text of ['', 'adduser\t3.118\n', `text\n${hex(64)}  disk.img\n`]) assert.not(isChecksumList(text), text);
  for (const name of [
    ...['SHA256SUMS', 'sha512sums', 'SHA256SUMS.txt', 'sha256sum.txt', 'MD5SUMS', 'B2SUMS', 'CHECKSUM', 'CHECKSUMS'],
    ...['disk.img.sha256', 'disk.qcow2.SHA512', 'disk.raw.sha256sum', 'disk.img.md5', 'disk.qcow2.CHECKSUM'],
    ...['Cloud-42-x86_64-CHECKSUM', 'disk.img.DIGESTS', 'CHECKSUM.SHA512-FreeBSD-14.0', 'sha256.txt'],
  ]) {
    assert.ok(isChecksumName(name), name);
  }
  for (const name of ['disk.img', 'SHA256SUMS.gpg', 'sha.img', 'sums', 'sha256-disk.qcow2', 'CHECKSUM.asc']) {
    assert.not(isChecksumName(name), name);
  }
  assert.equal(
    ['disk.img.sha256', 'disk.raw.SHA512SUM', 'disk.qcow2.CHECKSUM', 'SHA256SUMS', 'disk.img'].map(checkedFile),
    ['disk.img', 'disk.raw', 'disk.qcow2', null, null],
  );
});

test('a request names a digest with its algorithm', () => {
  assert.equal(parseDigest(`sha256:${hex(64, 'A')}`), sha256);
  assert.equal(parseDigest(`sha512:${hex(128)}`), sha512);
  for (const text of [hex(64), `md5:${hex(32)}`, `sha256:${hex(128)}`, `sha256:${hex(63)}g`, `sha256:${hex(64)}:x`]) {
    assert.is(parseDigest(text), null, text);
  }
});

test.run();
