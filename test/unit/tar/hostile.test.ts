import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RootLimits } from '#lib/tar/root-archive.ts';
import { sumOf } from '#lib/tar-sum.ts';
import { failure } from '../../failure.ts';
import {
  type CraftedMember,
  craftHeader,
  craftMember,
  craftTar,
  end,
  extra,
  marks,
  paxRecord,
} from '../../tar/craft.ts';
import { readRoot } from '../../tar/read.ts';

/** Archives that do what no root file system does: each is refused, by a message of its own. */

const file = (name: string, given: Partial<CraftedMember> = {}): CraftedMember => ({ name, content: 'x', ...given });
const folder = (name: string): CraftedMember => ({ name, flag: '5' });
const symlink = (name: string, target: string): CraftedMember => ({ name, flag: '2', target });
const hardLink = (name: string, target: string): CraftedMember => ({ name, flag: '1', target });
const good = craftMember(file('x'));
/** GNU's form of numbers that need more than octal digits. */
function withBinarySum(header: Buffer): Buffer {
  const sum = sumOf(header);
  header.fill(0, 148, 156).writeUInt8(0x80, 148);
  header.writeUInt32BE(sum, 152);
  return header;
}
const capability = Buffer.concat([Buffer.from([1, 0, 0, 2]), Buffer.alloc(16)]);

const hostile: Readonly<Record<string, readonly [archive: Buffer | readonly CraftedMember[], error: RegExp]>> = {
  'a name above the archive': [[file('../escaped')], /unsafe.*"\.\.\/escaped" leads out/],
  'a name that goes up inside': [[folder('a'), file('a/../../escaped')], /unsafe.*leads out/],
  'a name that goes up and stays inside': [[folder('a'), file('a/../b')], /unsafe.*leads out/],
  'an absolute name': [[file('/tmp/escaped')], /unsafe.*"\/tmp\/escaped" is absolute/],
  'a file below a link': [[symlink('out', '/tmp'), file('out/x')], /unsafe.*"out\/x" lies below "out", which is no f/],
  'a file below a link that leads up': [[symlink('out', '../..'), file('out/x')], /unsafe.*lies below "out"/],
  'a file below a chain of links': [[symlink('a', 'b'), symlink('b', '/'), file('a/x')], /unsafe.*lies below "a"/],
  'a file in the place of a link': [[symlink('f', '/tmp/x'), file('f')], /corrupt.*"f" is there twice/],
  'a hard link to an absolute name': [[hardLink('h', '/tmp/x')], /unsafe.*"\/tmp\/x" is absolute/],
  'a hard link above the archive': [[hardLink('h', '../x')], /unsafe.*leads out/],
  'a hard link to a link': [[symlink('s', '/x'), hardLink('h', 's')], /unsafe.*hard link to "s", which is no file/],
  'a hard link to a later file': [[hardLink('h', 'x'), file('x')], /unsafe.*hard link to "x", which is no file/],
  'a hard link to a folder': [[folder('d'), hardLink('h', 'd')], /unsafe.*which is no file before it/],
  'a hard link to itself': [[hardLink('h', 'h')], /unsafe.*which is no file before it/],
  'a hard link to a name with a slash at its end': [
    [file('x'), hardLink('h', 'x/')],
    /unsafe.*hard link to "x\/", which is no file before it/,
  ],
  'a hard link to a name with a dot, among names without': [
    [file('x'), hardLink('h', './x')],
    /corrupt.*names its members with and without a dot/,
  ],
  'a hard link that makes its file setuid': [
    [file('x'), { ...hardLink('h', 'x'), mode: 0o4755 }],
    /corrupt.*"h" is a hard link to "x", and has another mode or owner/,
  ],
  'a hard link of another owner than its file': [
    [file('x', { gid: 7 }), { ...hardLink('h', 'x'), gid: 8 }],
    /corrupt.*another mode or owner/,
  ],
  'a hard link that gives its file capabilities': [
    [file('x'), { ...hardLink('h', 'x'), records: { 'SCHILY.xattr.security.capability': capability } }],
    /corrupt.*"h" is a hard link to "x", and has other attributes/,
  ],
  'a hard link with a content': [
    [file('x'), file('h', { flag: '1', target: 'x' })],
    /corrupt.*no file, and has a cont/,
  ],
  'a folder made a link, made a folder': [[folder('d'), symlink('d', '/'), folder('d')], /corrupt.*"d" is there twice/],
  'an escape by an extended name': [[file('x', { records: { path: '../x' } })], /unsafe.*leads out/],
  'an escape by an extended target': [
    [{ ...hardLink('h', 'x'), records: { linkpath: '/tmp/x' } }],
    /unsafe.*"\/tmp\/x" is absolute/,
  ],
  "an escape by GNU's long name": [[file('x', { longName: '../x', mark: marks.gnu })], /unsafe.*leads out/],
  'a device outside of dev': [
    [{ name: 'disk', flag: '4', device: [254, 0] }],
    /unsafe.*the device "disk" lies outside of dev/,
  ],
  'a device with impossible numbers': [
    [folder('dev'), { name: 'dev/x', flag: '3', device: [4096, 0] }],
    /corrupt.*dev/,
  ],
  'a line break in a name': [[file('a\nb')], /unsafe.*"a b" has a control character/],
  'an escape sequence in a name': [[file('esc\x1b[2J')], /unsafe.*has a control character/],
  'a delete character in a name': [[file('a\x7f')], /unsafe.*has a control character/],
  'a control character in a target': [[symlink('a', 'b\tc')], /unsafe.*has a control character/],
  'a mark of overlayfs': [
    [file('x', { records: { 'SCHILY.xattr.trusted.overlay.redirect': '/etc' } })],
    /unsafe.*"x" has the attribute "trusted.overlay.redirect"/,
  ],
  "a user's mark of overlayfs": [
    [file('x', { records: { 'SCHILY.xattr.user.overlay.whiteout': 'y' } })],
    /unsafe.*has the attribute "user.overlay.whiteout"/,
  ],
  'an attribute of a security module': [
    [file('x', { records: { 'SCHILY.xattr.security.ima': 'x' } })],
    /unsafe.*has the attribute "security.ima"/,
  ],
  'a large attribute': [
    [file('x', { records: { 'SCHILY.xattr.user.a': 'b'.repeat(70_000) } })],
    /corrupt.*an attribute of "x" has 70000 bytes/,
  ],
  'capabilities of a folder': [
    [{ ...folder('d'), records: { 'SCHILY.xattr.security.capability': capability } }],
    /unsafe.*"d" is no file, and has capabilities/,
  ],
  'damaged capabilities': [
    [file('x', { records: { 'SCHILY.xattr.security.capability': 'x' } })],
    /corrupt.*the capabilities of "x" are damaged/,
  ],
  'one attribute with two values': [
    [file('x', { records: { 'SCHILY.xattr.user.a': 'b', 'LIBARCHIVE.xattr.user.a': 'Yw' } })],
    /corrupt.*an attribute of "x" is there twice/,
  ],
  'a keyword that is not known': [
    [file('x', { records: { 'SCHILY.fflags': 'schg' } })],
    /unsupported.*the keyword "SCHILY.fflags", which is not known/,
  ],
  'another character set': [
    [file('x', { records: { hdrcharset: 'ISO-IR 8859 1 1998' } })],
    /unsupported.*another character set/,
  ],
  'an owner of 33 bits': [
    [file('x', { bytes: [[108, Buffer.from([0x80, 0, 0, 2, 0, 0, 0, 0])]] })],
    /corrupt.*"x" has an owner of more than 32 bits/,
  ],
  'the owner that Linux reserves': [[file('x', { records: { uid: '4294967295' } })], /corrupt.*more than 32 bits/],
  'an owner that is no number': [[file('x', { records: { uid: '-1' } })], /corrupt.*has no number as uid/],
  'a name twice': [[file('x'), file('x')], /corrupt.*"x" is there twice/],
  'a name twice, by its long form': [[file('x'), file('y', { records: { path: 'x' } })], /corrupt.*"x" is there twice/],
  'a folder twice, with and without a slash': [[folder('d/'), folder('d')], /corrupt.*"d" is there twice/],
  'a name with and without a dot': [[file('x'), file('./y')], /corrupt.*names its members with and without a dot/],
  'a doubled slash': [[folder('a'), file('a//b')], /corrupt.*"a\/\/b" is not in its plain form/],
  'a dot inside of a name': [[folder('a'), file('a/./b')], /corrupt.*not in its plain form/],
  'two dots before a name': [[file('././b')], /corrupt.*not in its plain form/],
  'a name of no bytes': [[file('')], /corrupt.*not in its plain form/],
  'a file below a file': [[file('x'), file('x/y')], /unsafe.*"x\/y" lies below "x", which is no folder/],
  'a file before its folder': [[file('d/x'), folder('d')], /corrupt.*"d\/x" comes before its folder/],
  'a file that is named as a folder': [[file('x/')], /corrupt.*"x\/" is no folder, and has the name of one/],
  'a root that is no folder': [[symlink('./', '/')], /corrupt.*no folder/],
  'a long name': [[file('x', { records: { path: 'd/'.repeat(3000) } })], /corrupt.*has 6000 bytes/],
  'a long part of a name': [
    [file('x', { records: { path: 'd'.repeat(256) } })],
    /corrupt.*part of more than 255 bytes/,
  ],
  'a size of 4 EiB': [
    Buffer.concat([craftHeader({ name: 'big', bytes: [[124, Buffer.from('804000000000000000', 'hex')]] }, 0), end]),
    /corrupt.*the field size of a header is too large/,
  ],
  'a size beyond the end': [Buffer.concat([craftHeader({ name: 'big' }, 2 ** 32), end]), /truncated.*"big" has 42949/],
  'a negative size': [
    Buffer.concat([craftHeader({ name: 'x', bytes: [[124, Buffer.alloc(12, 0xff)]] }, 0), end]),
    /corrupt.*the field size of a header is a negative number/,
  ],
  'a size with a sign': [[file('x', { bytes: [[124, '-0000000001\0']] })], /corrupt.*size of a header is no number/],
  'a size with a letter behind it': [[file('x', { bytes: [[124, '00000000001x']] })], /corrupt.*size.*is no number/],
  'a size behind a zero byte': [[file('x', { bytes: [[124, '00000\x0000001\0']] })], /corrupt.*size.*is no number/],
  'a size in decimal digits': [[file('x', { bytes: [[124, '00000000008\0']] })], /corrupt.*size.*is no number/],
  'a size of blanks': [
    Buffer.concat([craftHeader({ name: 'x', bytes: [[124, ' '.repeat(12)]] }, 0), good, end]),
    /corrupt.*the field size of a header is empty/,
  ],
  'an owner of blanks': [[file('x', { bytes: [[108, ' '.repeat(8)]] })], /corrupt.*the field uid of a header is empty/],
  'an owner behind a zero byte': [
    [file('x', { bytes: [[108, '\x00000001']] })],
    /corrupt.*uid of a header is no number/,
  ],
  'a negative owner': [[file('x', { bytes: [[116, Buffer.alloc(8, 0xff)]] })], /corrupt.*gid.*negative number/],
  "a number in Base64, as GNU's tar wrote it until 1999": [
    [file('x', { bytes: [[124, '+AAAAAAAAAB\0']] })],
    /corrupt.*size of a header is no number/,
  ],
  'a checksum in the binary form': [
    Buffer.concat([withBinarySum(craftHeader({ name: 'x' }, 0)), end]),
    /corrupt.*the field sum of a header is no number/,
  ],
  'a time before the beginning of the world': [
    [file('x', { bytes: [[136, Buffer.concat([Buffer.from('ff00', 'hex'), Buffer.alloc(10)])]] })],
    /corrupt.*modified.*too large a number/,
  ],
  'an extended time with two signs': [[file('x', { records: { mtime: '--1' } })], /corrupt.*has no time as mtime/],
  'a time after that of ext4': [[file('x', { records: { mtime: '99999999999' } })], /corrupt.*after the year 2446/],
  'two sizes, the second 0': [[file('x', { records: { size: '0' } })], /corrupt.*"x" has two sizes/],
  'two sizes, the second larger': [[file('x', { records: { size: '512' } })], /corrupt.*"x" has two sizes/],
  'a size in an extended header that stands before a long name': [
    Buffer.concat([
      extra('x', paxRecord('size', '1024')),
      extra('L', Buffer.from('a\0')),
      craftHeader({ name: 'x' }, 1024),
      Buffer.alloc(1024),
      end,
    ]),
    /corrupt.*"a" has an extended header with a size, and one of GNU tar's for a long name/,
  ],
  'a size in an extended header behind a long name': [
    [file('x', { longName: 'a', records: { size: '1' } })],
    /corrupt.*"a" has an extended header with a size, and one of GNU tar's/,
  ],
  'a size of an extended header that is negative': [
    [file('x', { records: { size: '-1' } })],
    /corrupt.*no number as s/,
  ],
  'a size of an extended header of no bytes': [[file('x', { records: { size: '' } })], /corrupt.*no number as size/],
  'a time of an extended header that is no number': [[file('x', { records: { mtime: 'inf' } })], /corrupt.*no time/],
  'a pipe with a content': [[file('p', { flag: '6' })], /corrupt.*"p" is no file, and has a content/],
  'a link with a content': [[file('l', { flag: '2', target: 'x' })], /corrupt.*"l" is no file, and has a content/],
  'a folder with a content': [[{ ...folder('d'), content: 'x' }], /corrupt.*"d" is no file, and has a content/],
  'a link without a target': [[{ name: 'l', flag: '2' }], /corrupt.*the link "l" has no target/],
  'a file with a target': [[file('x', { target: 'y' })], /corrupt.*"x" is no link, and has a target/],
  'an extended header of 2 MiB': [
    Buffer.concat([extra('x', Buffer.alloc(2 ** 21, '1')), good, end]),
    /corrupt.*a header of a member has 2097152 bytes/,
  ],
  'a long name of 2 MiB': [
    Buffer.concat([extra('L', Buffer.alloc(2 ** 21, 'a')), good, end]),
    /corrupt.*a header of a member has 2097152 bytes/,
  ],
  'two extended headers': [
    Buffer.concat([extra('x', paxRecord('path', 'a')), extra('x', paxRecord('path', 'b')), good, end]),
    /corrupt.*two headers of the same kind/,
  ],
  'two long names': [
    Buffer.concat([extra('L', Buffer.from('a\0')), extra('L', Buffer.from('b\0')), good, end]),
    /corrupt.*two headers of the same kind/,
  ],
  'a long name and an extended one': [
    [file('x', { longName: 'a', records: { path: 'b' } })],
    /corrupt.*two long names/,
  ],
  'one keyword twice': [
    Buffer.concat([extra('x', Buffer.concat([paxRecord('path', 'a'), paxRecord('path', 'b')])), good, end]),
    /corrupt.*an extended header has "path" twice/,
  ],
  'an extended name of no bytes': [[file('x', { records: { path: '' } })], /corrupt.*a name that is none/],
  'a zero byte in an extended name': [[file('x', { records: { path: 'a\0b' } })], /corrupt.*a name that is none/],
  'a zero byte in a long name': [[file('x', { longName: 'a\0b' })], /corrupt.*a long name has a zero byte/],
  'a long name of no bytes': [[file('x', { longName: '' })], /corrupt.*"" is not in its plain form/],
  'an extended target of no bytes': [
    [{ ...symlink('l', 'x'), records: { linkpath: '' } }],
    /corrupt.*a name that is none/,
  ],
  'a target in the extended header of a file': [
    [file('x', { records: { linkpath: 'y' } })],
    /corrupt.*"x" is no link, and has a target/,
  ],
  'a long target of a file': [[file('x', { longTarget: 'y' })], /corrupt.*"x" is no link, and has a target/],
  'a zero byte in a keyword': [
    [file('x', { records: { 'SCHILY.xattr.user.a\0b': 'c' } })],
    /corrupt.*an attribute of "x" has a zero byte in its name/,
  ],
  'a record without an end': [
    Buffer.concat([extra('x', Buffer.from('8 a=b\0\0\0')), good, end]),
    /corrupt.*an extended header is cut off/,
  ],
  'a record of 0 bytes': [Buffer.concat([extra('x', Buffer.from('0 a=b\n')), good, end]), /corrupt.*is cut off/],
  'a record whose length has eleven digits': [
    Buffer.concat([extra('x', Buffer.from('00000000008 a=b\n')), good, end]),
    /corrupt.*is cut off/,
  ],
  'a record whose length has a sign': [
    Buffer.concat([extra('x', Buffer.from('+7 a=b\n')), good, end]),
    /corrupt.*an extended header has no length/,
  ],
  'a record that begins with a blank': [
    Buffer.concat([extra('x', Buffer.from(' 7 a=b\n')), good, end]),
    /corrupt.*an extended header is cut off/,
  ],
  'a record without a keyword': [
    Buffer.concat([extra('x', Buffer.from('5 =b\n')), good, end]),
    /corrupt.*an extended header has no keyword/,
  ],
  'a damaged extended header': [Buffer.concat([extra('x', Buffer.from('99 a=b\n')), good, end]), /corrupt.*is cut off/],
  'an extended header of no member': [
    Buffer.concat([good, extra('x', paxRecord('path', 'a')), end]),
    /corrupt.*its last header belongs to no member/,
  ],
  'a long name of no member': [Buffer.concat([good, extra('L', Buffer.from('a\0')), end]), /corrupt.*no member/],
  'a long target of no member': [Buffer.concat([good, extra('K', Buffer.from('a\0')), end]), /corrupt.*no member/],
  'a long name at the end of the file': [Buffer.concat([good, extra('L', Buffer.from('a\0'))]), /truncated/],
  'a global extended header': [
    Buffer.concat([extra('g', paxRecord('comment', 'x')), good, end]),
    /unsupported.*is a global extended header/,
  ],
  "a sparse file in GNU's old form": [[file('x', { flag: 'S', mark: marks.gnu })], /unsupported.*"x" is a sparse file/],
  'a sparse file of pax 0.0': [
    [file('x', { records: { 'GNU.sparse.size': '9', 'GNU.sparse.numblocks': '0' } })],
    /unsupported.*"x" is a sparse file/,
  ],
  'a sparse file of pax 0.1': [
    [file('x', { records: { 'GNU.sparse.map': '0,1', 'GNU.sparse.name': '../x' } })],
    /unsupported.*"x" is a sparse file/,
  ],
  'a sparse file of pax 1.0': [
    [file('GNUSparseFile.1/x', { records: { 'GNU.sparse.major': '1', 'GNU.sparse.name': '../x' } })],
    /unsupported.*is a sparse file/,
  ],
  'a contiguous file': [[file('x', { flag: '7' })], /unsupported.*"x" is a contiguous file/],
  'the rest of a file': [[file('x', { flag: 'M', mark: marks.gnu })], /unsupported.*another volume begins/],
  'the label of a volume': [[{ name: 'x', flag: 'V', mark: marks.gnu }], /unsupported.*"x" is the label of a volume/],
  "a list of a folder's content": [[file('d/', { flag: 'D', mark: marks.gnu })], /unsupported.*incremental archives/],
  "an extended header of Solaris' tar": [[file('x', { flag: 'X' })], /unsupported.*an extended header of Solaris' tar/],
  "an ACL of Solaris' tar": [[file('x', { flag: 'A' })], /unsupported.*"x" is an ACL of Solaris' tar/],
  'a list of long names': [[file('x', { flag: 'N', mark: marks.gnu })], /unsupported.*a list of long names/],
  'an inode without content': [[file('x', { flag: 'I' })], /unsupported.*an inode without content/],
  'a type that is not known': [[file('x', { flag: 'Z' })], /unsupported.*"x" is of the unknown type "Z"/],
  'the prefix of ustar in a GNU header': [
    [file('x', { mark: marks.gnu, bytes: [[345, 'etc']] })],
    /corrupt.*GNU tar's incremental archives/,
  ],
  'the prefix of ustar in a header of version 7': [
    [file('x', { mark: marks.v7, bytes: [[345, 'etc']] })],
    /corrupt.*the mark of an unknown format/,
  ],
  'the prefix of ustar that leads out': [[file('x', { bytes: [[345, '..']] })], /unsafe.*"\.\.\/x" leads out/],
  "the fields of star's headers": [
    [
      file('x', {
        bytes: [
          [476, '14510000000\0'],
          [488, '14510000000\0'],
          [508, 'tar\0'],
        ],
      }),
    ],
    /corrupt.*bytes behind its last field/,
  ],
  'a folder of version 7 with a content': [
    [file('d/', { flag: '\0', mark: marks.v7 })],
    /corrupt.*"d\/" is no file, and has a content/,
  ],
  'a mark of ustar without its version': [
    [file('x', { mark: 'ustar\0\0\0' })],
    /corrupt.*the mark of an unknown format/,
  ],
  'a mark that is not known': [[file('x', { mark: 'ustar\x0099' })], /corrupt.*the mark of an unknown format/],
  'a wrong checksum': [Buffer.concat([Buffer.from('y'), good.subarray(1), end]), /corrupt.*checksum is wrong/],
  'an archive without an end': [good, /truncated.*no blocks of zeros at its end/],
  'an archive with half an end': [Buffer.concat([good, end.subarray(512)]), /truncated.*no blocks of zeros/],
  'a block of zeros in the middle': [
    Buffer.concat([good, end.subarray(512), craftMember(file('y')), end]),
    /corrupt.*a block of zeros stands alone/,
  ],
  'a second archive behind the end': [Buffer.concat([good, end, good, end]), /corrupt.*something follows its end/],
  'text behind the end': [Buffer.concat([good, end, Buffer.from('more')]), /corrupt.*something follows its end/],
  'an archive behind much of zeros': [
    Buffer.concat([good, end, Buffer.alloc(200_000), good]),
    /corrupt.*something follows its end/,
  ],
  'an archive that is cut off within a file': [good.subarray(0, 700), /truncated/],
  'an archive that is cut off within a header': [good.subarray(0, 100), /truncated/],
  'no bytes': [Buffer.alloc(0), /truncated/],
};

for (const [name, [archive, error]] of Object.entries(hostile)) {
  test(`${name} is refused`, async () => {
    const bytes = Buffer.isBuffer(archive) ? archive : craftTar(...(archive as readonly CraftedMember[]));
    const { code, message } = await failure(readRoot(bytes));
    assert.match(`${code}: ${message}`, error);
  });
}

test('limits of members and of the bytes of their names hold', async () => {
  const archive = craftTar(file('abc'), file('def'));
  const refused = async (limits: Partial<RootLimits>) => (await failure(readRoot(archive, limits))).message;
  assert.match(await refused({ maximumEntries: 1 }), /it has more than 1 members/);
  assert.match(await refused({ maximumNameBytes: 5 }), /its names have more than 5 bytes/);
  const { entries } = await readRoot(archive, { maximumEntries: 2, maximumNameBytes: 6 });
  assert.is(entries.size, 2);
});

test('reading ends with the signal', async () => {
  const cancelled = new Error('cancelled');
  const thrown = await readRoot(craftTar(file('x')), { signal: AbortSignal.abort(cancelled) }).catch((error) => error);
  assert.is(thrown, cancelled);
});

test.run();
