import { quoted } from '../text.ts';
import type { Accounts } from './accounts.ts';
import { corrupt, unsupported } from './refusals.ts';

/** Access control lists of tar archives, as text (POSIX.1e draft 17, 23.3), and as the kernel has them. */

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
const [headBytes, entryBytes] = [4, 8];

interface AclEntry {
  readonly tag: number;
  /** Bits of read, write and execute. */
  readonly permissions: number;
  /** `nobody` where the tag needs none. */
  readonly id: number;
}

/**
 * The value of `system.posix_acl_access` (linux/posix_acl_xattr.h) for text such as `user::rwx,user:7:r-x,mask::rwx`; star
 * and libarchive put the number behind the name, `user:bin:r-x:2`. GNU tar writes names alone, where its machine knew one:
 * they are those of the image, as its own tar would read them. Throws `image.corrupt` for other text, and `image.unsupported`
 * for a name that the image does not know.
 */
export function parseAcl(text: string, accounts: Accounts): Buffer {
  const entries = text
    .split(/[,\n]/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => parseEntry(line, accounts))
    .sort((one, other) => one.tag - other.tag || one.id - other.id);
  const bytes = Buffer.alloc(headBytes + entryBytes * entries.length);
  bytes.writeUInt32LE(version, 0);
  for (const [index, { tag, permissions, id }] of entries.entries()) {
    const at = headBytes + entryBytes * index;
    bytes.writeUInt16LE(tag, at);
    bytes.writeUInt16LE(permissions, at + 2);
    bytes.writeUInt32LE(id, at + 4);
  }
  return bytes;
}

function parseEntry(line: string, { users, groups }: Accounts): AclEntry {
  const [kind = '', name = '', letters = '', number = name] = line.split('#', 1)[0]?.trim().split(':') ?? [];
  const pair = tags[kind];
  if (pair === undefined || !/^[r-][w-][x-]$/.test(letters)) {
    throw corrupt(`the access control list entry ${quoted(line)} is none`);
  }
  const permissions = [...letters].reduce((sum, letter) => 2 * sum + (letter === '-' ? 0 : 1), 0);
  if (name === '') return { tag: pair[0], permissions, id: nobody };
  const id = /^[0-9]{1,10}$/.test(number) ? Number(number) : (kind.startsWith('u') ? users : groups).get(name);
  if (id === undefined || id >= nobody) {
    throw unsupported(`the access control list entry ${quoted(line)} has no number, and the image has no such name`);
  }
  return { tag: pair[1], permissions, id };
}

const words: ReadonlyMap<number, string> = new Map([
  ...[0x01, 0x02].map((tag) => [tag, 'user'] as const),
  ...[0x04, 0x08].map((tag) => [tag, 'group'] as const),
  [0x10, 'mask'],
  [0x20, 'other'],
]);
const namedTags = new Set([0x02, 0x08]);

/** The text of a value of the kernel's, with numbers alone. Throws `image.corrupt` for a value that is none. */
export function renderAcl(value: Buffer): string {
  const isWhole = value.length >= headBytes && (value.length - headBytes) % entryBytes === 0;
  if (!isWhole || value.readUInt32LE(0) !== version) throw damaged();
  let text = '';
  for (let at = headBytes; at < value.length; at += entryBytes) {
    const [tag, permissions] = [value.readUInt16LE(at), value.readUInt16LE(at + 2)];
    const word = words.get(tag);
    if (word === undefined || permissions > 7) throw damaged();
    const id = namedTags.has(tag) ? String(value.readUInt32LE(at + 4)) : '';
    const letters = [...'rwx'].map((letter, index) => ((permissions >> (2 - index)) & 1 ? letter : '-')).join('');
    text += `${word}:${id}:${letters}\n`;
  }
  return text;
}

function damaged(): Error {
  return corrupt('an access control list of it is damaged');
}
