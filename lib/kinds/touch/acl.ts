import { ImageBuilderError } from '../../errors.ts';
import { quoted } from '../../text.ts';

/** Access control lists of tar archives, as text (POSIX.1e draft 17, 23.3), and as the kernel takes them. */

/** Tags of linux/posix_acl.h. Entries that name nobody are of the file's own owner and group. */
const tags: Readonly<Record<string, readonly [own: number, named: number]>> = {
  user: [0x01, 0x02],
  u: [0x01, 0x02],
  group: [0x04, 0x08],
  g: [0x04, 0x08],
  mask: [0x10, 0x10],
  m: [0x10, 0x10],
  other: [0x20, 0x20],
  o: [0x20, 0x20],
};
const nobody = 0xffff_ffff;
const version = 2;

/**
 * The value of `system.posix_acl_access` (linux/posix_acl_xattr.h) for text such as `user::rwx,user:7:r-x,mask::rwx`; star
 * and libarchive put the number behind the name, `user:bin:r-x:2`. Throws `image.corrupt` for other text, and
 * `image.unsupported` for a name without a number.
 */
export function parseAcl(text: string): Buffer {
  const entries = text
    .split(/[,\n]/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map(parseEntry)
    .sort((one, other) => one.tag - other.tag || one.id - other.id);
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(version, 0);
  for (const [index, { tag, permissions, id }] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * index);
    bytes.writeUInt16LE(permissions, 6 + 8 * index);
    bytes.writeUInt32LE(id, 8 + 8 * index);
  }
  return bytes;
}

function parseEntry(line: string): { readonly tag: number; readonly permissions: number; readonly id: number } {
  const [kind = '', name = '', letters = '', number = name] = line.split('#', 1)[0]?.trim().split(':') ?? [];
  const pair = tags[kind];
  if (pair === undefined || !/^[r-][w-][x-]$/.test(letters)) {
    throw new ImageBuilderError('image.corrupt', `the access control list entry ${quoted(line)} is none`);
  }
  const permissions = [...letters].reduce((sum, letter) => 2 * sum + (letter === '-' ? 0 : 1), 0);
  if (name === '') return { tag: pair[0], permissions, id: nobody };
  if (!/^[0-9]{1,10}$/.test(number) || Number(number) >= nobody) {
    throw new ImageBuilderError('image.unsupported', `the access control list entry ${quoted(line)} has no number`);
  }
  return { tag: pair[1], permissions, id: Number(number) };
}
