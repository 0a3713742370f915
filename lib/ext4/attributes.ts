import { attributeBytes, blockBytes } from './inode.ts';
import { type TreeMember, unsupported } from './member.ts';

/** Extended attributes in ext4: fs/ext4/xattr.h of Linux. They lie in the inode, or in a block of their own. */

/** Of names, in the order of the numbers that stand for them. The second and third have nothing behind them. */
const prefixes: readonly (readonly [number, string])[] = [
  [1, 'user.'],
  [2, 'system.posix_acl_access'],
  [3, 'system.posix_acl_default'],
  [4, 'trusted.'],
  [6, 'security.'],
];

const magic = 0xea02_0000;
const blockHeaderBytes = 32;
const entryBytes = 16;

interface Attribute {
  readonly index: number;
  readonly name: Buffer;
  readonly value: Buffer;
}

export interface EncodedAttributes {
  /** For the room behind the inode's fields. */
  readonly inside: Buffer | null;
  /** Content of a block of their own. */
  readonly block: Buffer | null;
}

/** Encodes the attributes of a member. Throws `image.unsupported` for those that ext4 cannot hold. */
export function encodeAttributes(member: TreeMember): EncodedAttributes {
  const attributes = [...member.attributes].map(([name, value]) => attributeOf(member.path, name, value)).sort(inOrder);
  if (attributes.length === 0) return { inside: null, block: null };
  const needed = attributes.reduce((sum, { name, value }) => sum + entryBytes + padded(name) + padded(value), 4);
  if (4 + needed <= attributeBytes) {
    const inside = Buffer.alloc(attributeBytes);
    inside.writeUInt32LE(magic, 0);
    // Places of values count from behind the mark.
    writeEntries(inside.subarray(4), 0, attributes);
    return { inside, block: null };
  }
  if (blockHeaderBytes + needed > blockBytes) {
    throw unsupported(member.path, `has extended attributes that take more than ${blockBytes} bytes`);
  }
  const block = Buffer.alloc(blockBytes);
  block.writeUInt32LE(magic, 0);
  // One file uses it, and it is one block.
  block.writeUInt32LE(1, 4);
  block.writeUInt32LE(1, 8);
  writeEntries(block, blockHeaderBytes, attributes);
  return { inside: null, block };
}

function attributeOf(path: string, name: string, value: Buffer): Attribute {
  const [index, prefix] = prefixes.find(([, start]) => name.startsWith(start)) ?? [0, ''];
  const rest = Buffer.from(name.slice(prefix.length), 'latin1');
  const isAcl = index === 2 || index === 3;
  if (index === 0 || rest.length > 255 || isAcl === rest.length > 0) {
    throw unsupported(path, `has the extended attribute ${JSON.stringify(name)}, which ext4 cannot hold`);
  }
  return { index, name: rest, value: isAcl ? diskAcl(path, value) : value };
}

function inOrder(one: Attribute, other: Attribute): number {
  return one.index - other.index || one.name.length - other.name.length || Buffer.compare(one.name, other.name);
}

function writeEntries(room: Buffer, start: number, attributes: readonly Attribute[]): void {
  let at = start;
  let end = room.length;
  for (const { index, name, value } of attributes) {
    end -= padded(value);
    value.copy(room, end);
    room.writeUInt8(name.length, at);
    room.writeUInt8(index, at + 1);
    room.writeUInt16LE(value.length === 0 ? 0 : end, at + 2);
    room.writeUInt32LE(value.length, at + 8);
    name.copy(room, at + entryBytes);
    room.writeUInt32LE(hashOf(name, room.subarray(end, end + padded(value))), at + 12);
    at += entryBytes + padded(name);
  }
}

function padded(bytes: Buffer): number {
  return Math.ceil(bytes.length / 4) * 4;
}

/** `ext4_xattr_hash_entry` of fs/ext4/xattr.c. */
function hashOf(name: Buffer, paddedValue: Buffer): number {
  let hash = 0;
  for (const byte of name) hash = ((hash << 5) ^ (hash >>> 27) ^ byte) >>> 0;
  for (let at = 0; at < paddedValue.length; at += 4) {
    hash = ((hash << 16) ^ (hash >>> 16) ^ paddedValue.readUInt32LE(at)) >>> 0;
  }
  return hash;
}

/** Tags of ACL entries that name a user or a group (linux/posix_acl.h). */
const namingTags = [0x02, 0x08];

/**
 * An access control list as on the disk (fs/ext4/acl.h), from the form in which the kernel hands it out
 * (linux/posix_acl_xattr.h): there, each entry has an id.
 */
function diskAcl(path: string, value: Buffer): Buffer {
  if (value.length < 4 || value.length % 8 !== 4 || value.readUInt32LE(0) !== 2) {
    throw unsupported(path, 'has an access control list that Linux does not know');
  }
  const parts: Buffer[] = [Buffer.from([1, 0, 0, 0])];
  for (let at = 4; at < value.length; at += 8) {
    const hasId = namingTags.includes(value.readUInt16LE(at));
    parts.push(value.subarray(at, at + (hasId ? 8 : 4)));
  }
  return Buffer.concat(parts);
}
