import type { FileHandle } from 'node:fs/promises';
import { haveSameBytes } from '../same-bytes.ts';
import { writeAll } from '../write-all.ts';
import { contentParts, cutPart, readPacked } from './content.ts';
import type { FileInode } from './inode.ts';
import type { Squashfs } from './open.ts';
import { tooLarge } from './refusals.ts';
import type { LayerView, Shown } from './thin/view.ts';
import { unpackBlocks } from './unpack.ts';
import type { ToolLimits } from './xz.ts';

/** Files of a view, as programs in the system that it shows would find and read them. */

/** A file, and the layer that it is from. */
export interface ShownFile extends Shown {
  readonly layer: Squashfs;
  readonly inode: FileInode;
}

const maximumLinks = 40;

/** The file at a path such as `vmlinuz`, behind all symbolic links; null where there is none. */
export function followToFile(view: LayerView, path: string): (ShownFile & { readonly path: string }) | null {
  let at = '';
  let links = 0;
  const rest = partsOf(path);
  for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
    if (part === '..') {
      at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
      continue;
    }
    const next = at === '' ? part : `${at}/${part}`;
    const inode = view.find(next)?.inode;
    if (inode === undefined) return null;
    if (inode.type !== 'symlink') {
      at = next;
      continue;
    }
    links += 1;
    if (links > maximumLinks) return null;
    if (inode.target.startsWith('/')) at = '';
    rest.push(...partsOf(inode.target));
  }
  const shown = view.find(at);
  return shown?.inode.type === 'file' ? { layer: shown.layer, inode: shown.inode, path: at } : null;
}

/** The names in a path, the first one last. */
function partsOf(path: string): string[] {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse();
}

/** Unpacked bytes that are in memory at a time. */
const batchBytes = 32 * 2 ** 20;

/** The content of a file, in pieces. Throws `image.corrupt`, or the reason of the signal. */
export async function* contentOf({ layer, inode }: ShownFile, limits: ToolLimits): AsyncGenerator<Buffer> {
  const { compressor, blockSizeBytes } = layer.superblock;
  const parts = [...contentParts(layer, inode)];
  const most = Math.ceil(batchBytes / blockSizeBytes);
  for (let first = 0; first < parts.length; first += most) {
    const batch = parts.slice(first, first + most);
    const packed = [];
    for (const part of batch) {
      limits.signal.throwIfAborted();
      if (part.size > 0) packed.push(await readPacked(layer.region, part));
    }
    const blocks = await unpackBlocks(packed, compressor, blockSizeBytes, limits);
    let next = 0;
    for (const part of batch) yield part.size === 0 ? Buffer.alloc(part.length) : cutPart(blocks[next++], part);
  }
}

/**
 * Writes the content of a file to the beginning of `output`. Throws `image.too_large` for one of more than
 * `maximumBytes`, before anything is read, and as `contentOf` does.
 */
export async function copyFromView(
  file: ShownFile,
  output: FileHandle,
  maximumBytes: number,
  limits: ToolLimits,
): Promise<void> {
  const { sizeBytes, number } = file.inode;
  if (sizeBytes > maximumBytes) throw tooLarge(`file ${number} has ${sizeBytes} bytes, more than ${maximumBytes}`);
  let position = 0;
  for await (const piece of contentOf(file, limits)) {
    await writeAll(output, piece, position);
    position += piece.length;
  }
}

/** True for files with the same content. One file of one layer is not read. */
export async function haveSameContent(one: ShownFile, other: ShownFile, limits: ToolLimits): Promise<boolean> {
  if (one.inode.sizeBytes !== other.inode.sizeBytes) return false;
  if (one.layer === other.layer && one.inode.number === other.inode.number) return true;
  return await haveSameBytes(contentOf(one, limits), contentOf(other, limits));
}
