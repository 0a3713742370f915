import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type CraftedMember, craftTar, marks } from '../../tar/craft.ts';
import { merge } from '../../tar/merge.ts';
import { assertUnpacks } from '../../tar/unpack.ts';
import { withFile } from '../image/temporary.ts';
import { testWith } from '../with-programs.ts';

/** The programs that unpack a finished archive, as root: what they give back of owners, capabilities, ACLs and attributes. */

const testAsRoot = (program: string) => (process.getuid?.() === 0 ? testWith(program) : test.skip);

/** The kernel's structure of version 2: effective, cap_net_raw. */
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const otherCapability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
const acl = 'user::rwx\nuser:7:r--\nuser:3000000:rwx\ngroup::r-x\ngroup:4:rwx\nmask::rwx\nother::---\n';

const base: readonly CraftedMember[] = [
  { name: './', flag: '5' },
  { name: './ping', mode: 0o755, content: 'ping', records: { 'SCHILY.xattr.security.capability': capability } },
  { name: './changed', mode: 0o755, content: 'old', records: { 'SCHILY.xattr.security.capability': capability } },
  { name: './log/', flag: '5', mode: 0o2770, gid: 4, records: { 'SCHILY.acl.access': acl, 'SCHILY.acl.default': acl } },
  { name: './log/plain', mode: 0o640, content: 'plain' },
  {
    name: './log/listed',
    mode: 0o770,
    uid: 3_000_000,
    content: '',
    records: { 'SCHILY.acl.access': acl, uid: '3000000' },
  },
  { name: './ping-again', flag: '1', mode: 0o755, target: './ping' },
  { name: './setuid', mode: 0o4755, uid: 7, content: 's', records: { 'SCHILY.xattr.user.note': 'one\0two\n' } },
  { name: './pipe', flag: '6', mode: 0o600 },
];

const delta = craftTar(
  { name: './changed', mode: 0o755, content: 'new', records: { 'SCHILY.xattr.security.capability': otherCapability } },
  {
    name: './log/new',
    mode: 0o770,
    content: 'new',
    records: { 'SCHILY.acl.access': acl, 'SCHILY.xattr.user.note': '' },
  },
  { name: './sub/', flag: '5', mode: 0o755, records: { 'SCHILY.acl.default': acl } },
  { name: './sub/new', content: 'new', gid: 54_321 },
);

async function unpacked(archive: Buffer, program: 'tar' | 'busybox'): Promise<readonly string[]> {
  return await withFile(archive, (path) => assertUnpacks(path, program));
}

testAsRoot('tar')(
  'GNU tar gives back owners, modes, capabilities, ACLs and attributes of a merged archive',
  async () => {
    const { bytes } = await merge(craftTar(...base), delta);
    const files = await unpacked(bytes, 'tar');
    const lineOf = (name: string) => files.find((line) => line.startsWith(`${name} `)) ?? '';
    assert.match(lineOf('changed'), otherCapability.toString('hex'));
    assert.match(lineOf('ping-again'), capability.toString('hex'));
    assert.match(lineOf('log/new'), 'posix_acl_access');
    assert.match(lineOf('sub'), 'posix_acl_default');
  },
);

for (const [title, mark] of [
  ['pax', marks.ustar],
  ["GNU tar's format", marks.gnu],
] as const) {
  testAsRoot('busybox')(
    `busybox unpacks a merged archive in ${title} without an error, with owners and modes`,
    async () => {
      const members = base.map((member) => {
        const large =
          member.uid === undefined || member.uid < 2 ** 21
            ? {}
            : { bytes: [[108, Buffer.from('80000000002dc6c0', 'hex')]] as const };
        return mark === marks.gnu ? { ...member, records: {}, mark, ...large } : member;
      });
      const { bytes } = await merge(craftTar(...members), delta);
      await unpacked(bytes, 'busybox');
    },
  );
}

test.run();
