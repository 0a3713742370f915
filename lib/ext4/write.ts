import { type FileHandle, open } from 'node:fs/promises';
import { writeAll } from '../write-all.ts';
import { encodeAttributes } from './attributes.ts';
import { type ContentWriter, createContentWriter } from './content.ts';
import { renderFolder } from './directory.ts';
import { blockBytes, hasBlocks, inodeBytes, type Placed, type Run, renderIndexes, writeInode } from './inode.ts';
import { inodeOffset, type Layout, planLayout, renderHead } from './layout.ts';
import type { TreeMember } from './member.ts';
import { firstNumber, type Node, plantTree } from './tree.ts';

export interface Ext4Options {
  /** Holds the contents of files. It is read from its start to its end where the members are in that order. */
  readonly source: FileHandle;
  /** Size of the file system, with room for changes. */
  readonly sizeBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Writes a new file with an ext4 file system that holds `members`, with their owners, modes, attributes, hard links and
 * devices. No file of the tree ever exists on the worker's own file system, so that it takes no rights. Every inode has
 * the time of its last change at `untouchedSeconds`. Throws `image.too_large` where the members do not fit into the size,
 * `image.corrupt` and `image.unsupported` for members that no file system or not this one can hold, `image.truncated`
 * where the source ends early, or the reason of the signal.
 */
export async function writeExt4(path: string, members: Iterable<TreeMember>, options: Ext4Options): Promise<void> {
  const { source, sizeBytes, signal } = options;
  const { nodes } = plantTree(members);
  const layout = planLayout(sizeBytes, nodes.length);
  await using target = await open(path, 'wx', 0o600);
  await target.truncate(layout.blocks * blockBytes);
  const content = createContentWriter({
    ...{ source, target, signal },
    ...{ first: layout.contentAt, blocks: layout.blocks },
  });
  const inodes = createInodeTable(target, layout);
  for (const node of nodes) {
    const placed = await store(node, content);
    const room = await inodes.room(node.number);
    writeInode(room, node, placed);
  }
  await content.end();
  await inodes.end();
  const head = renderHead(layout, {
    blocks: content.next,
    // Of the nodes, only the root is one of those before the first number.
    inodes: firstNumber - 1 + nodes.length - 1,
    folders: nodes.filter(({ entries }) => entries !== null).map(({ number }) => number),
  });
  await writeAll(target, head, 0);
}

async function store(node: Node, writer: ContentWriter): Promise<Placed> {
  const { member } = node;
  const { type, target } = member;
  const bytes = type === 'directory' ? renderFolder(node) : Buffer.from(type === 'symlink' ? target : '', 'latin1');
  const sizeBytes = type === 'file' ? member.sizeBytes : bytes.length;
  let content: Run | null = null;
  if (type === 'file') content = await writer.copy(member.contentAt, sizeBytes);
  else if (hasBlocks(member)) content = await writer.append(bytes);
  const indexes = await writer.append(renderIndexes(content));
  const { inside, block } = encodeAttributes(member);
  const attributeBlock = block === null ? null : (await writer.append(block)).start;
  return { content, indexes, sizeBytes, attributes: inside, attributeBlock };
}

const tableWindow = 4096;

/** Writes the table of inodes, in the order of their numbers. */
function createInodeTable(file: FileHandle, layout: Layout) {
  const window = Buffer.alloc(tableWindow * inodeBytes);
  let first = 1;
  let used = 0;
  const end = async () => {
    await writeAll(file, window.subarray(0, used), inodeOffset(layout, first));
    window.fill(0);
    first += tableWindow;
    used = 0;
  };
  return {
    /** The bytes of an inode, which are zero. */
    async room(number: number): Promise<Buffer> {
      while (number >= first + tableWindow) await end();
      const at = (number - first) * inodeBytes;
      used = at + inodeBytes;
      return window.subarray(at, used);
    },
    end,
  };
}
