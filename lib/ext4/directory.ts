import { blockBytes, fileTypes } from './inode.ts';
import type { Node } from './tree.ts';

/** Folders of ext4 in their plain form (Linux, Documentation/filesystems/ext4, "Linear Directories"). */

const headBytes = 8;

/** The content of a folder, in whole blocks. */
export function renderFolder(node: Node): Buffer {
  const blocks: Buffer[] = [];
  let block = Buffer.alloc(blockBytes);
  let at = 0;
  let last = 0;
  // The last entry of a block reaches to its end.
  const finish = () => {
    block.writeUInt16LE(blockBytes - last, last + 4);
    blocks.push(block);
  };
  const add = (name: string, { number, member }: Node) => {
    const bytes = Math.ceil((headBytes + name.length) / 4) * 4;
    if (at + bytes > blockBytes) {
      finish();
      block = Buffer.alloc(blockBytes);
      at = 0;
    }
    block.writeUInt32LE(number, at);
    block.writeUInt16LE(bytes, at + 4);
    block.writeUInt8(name.length, at + 6);
    block.writeUInt8(member.type === 'link' ? 0 : fileTypes[member.type].entry, at + 7);
    block.write(name, at + headBytes, 'latin1');
    last = at;
    at += bytes;
  };
  add('.', node);
  add('..', node.parent ?? node);
  for (const [name, entry] of node.entries ?? []) add(name, entry);
  finish();
  return Buffer.concat(blocks);
}
