import { type ContentPart, contentParts, cutPart, readPacked } from '../content.ts';
import type { FileInode } from '../inode.ts';
import type { Squashfs } from '../open.ts';
import { type PackedBlock, unpackBlocks } from '../unpack.ts';
import type { ToolLimits } from '../xz.ts';

/** A piece of a file; pieces of one file follow each other. */
export interface Piece {
  readonly file: FileInode;
  readonly bytes: Buffer;
}

/** Unpacked bytes that are in memory at a time. */
const batchBytes = 32 * 2 ** 20;

/**
 * Where the content of a file begins in the file system. Read in this order, each block is unpacked once, however many
 * small files it holds; and a program that packs files in it lays them side by side as they were.
 */
export function placeOfContent(squashfs: Squashfs, file: FileInode): number {
  for (const { start, size } of contentParts(squashfs, file)) if (size > 0) return start;
  return 0;
}

/**
 * The content of these files, in their order; nothing of empty ones. Throws `image.corrupt` for blocks that cannot be
 * unpacked to their length, or the reason of the signal.
 */
export async function* readContents(
  squashfs: Squashfs,
  files: Iterable<FileInode>,
  limits: ToolLimits,
): AsyncGenerator<Piece, void, undefined> {
  const { blockSizeBytes } = squashfs.superblock;
  const most = Math.ceil(batchBytes / blockSizeBytes);
  const zeros = Buffer.alloc(blockSizeBytes);
  let blocks: ReadonlyMap<number, Buffer> = new Map();
  for (const batch of batchesOf(squashfs, files, most)) {
    blocks = await unpackBatch(squashfs, batch, blocks, limits);
    for (const { file, part } of batch) {
      limits.signal.throwIfAborted();
      yield { file, bytes: part.size === 0 ? zeros.subarray(0, part.length) : cutPart(blocks.get(part.start), part) };
    }
  }
}

interface Wanted {
  readonly file: FileInode;
  readonly part: ContentPart;
}

/** Parts that need at most so many blocks, and as many parts as that many small files have. */
function* batchesOf(squashfs: Squashfs, files: Iterable<FileInode>, most: number): Generator<Wanted[]> {
  const mostParts = 64 * most;
  let batch: Wanted[] = [];
  const starts = new Set<number>();
  for (const file of files) {
    for (const part of contentParts(squashfs, file)) {
      const isNew = part.size > 0 && !starts.has(part.start);
      if ((isNew && starts.size === most) || batch.length === mostParts) {
        yield batch;
        batch = [];
        starts.clear();
      }
      if (part.size > 0) starts.add(part.start);
      batch.push({ file, part });
    }
  }
  yield batch;
}

/** The unpacked blocks of a batch by their places; those of `known` are not unpacked again. */
async function unpackBatch(
  { region, superblock }: Squashfs,
  batch: readonly Wanted[],
  known: ReadonlyMap<number, Buffer>,
  limits: ToolLimits,
): Promise<Map<number, Buffer>> {
  const blocks = new Map<number, Buffer>();
  const packed = new Map<number, PackedBlock>();
  for (const { part } of batch) {
    limits.signal.throwIfAborted();
    if (part.size === 0 || packed.has(part.start) || blocks.has(part.start)) continue;
    const before = known.get(part.start);
    if (before === undefined) packed.set(part.start, await readPacked(region, part));
    else blocks.set(part.start, before);
  }
  const unpacked = await unpackBlocks([...packed.values()], superblock.compressor, superblock.blockSizeBytes, limits);
  for (const [index, start] of [...packed.keys()].entries()) {
    const content = unpacked[index];
    if (content !== undefined) blocks.set(start, content);
  }
  return blocks;
}
