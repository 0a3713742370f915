import { type ContentPart, contentParts, cutPart, readPacked } from '../content.ts';
import { attributesOf, deviceNumbers } from '../entry.ts';
import type { FileInode } from '../inode.ts';
import type { Squashfs } from '../open.ts';
import { type Region, readRegion } from '../region.ts';
import { type PackedBlock, unpackBlocks } from '../unpack.ts';
import type { ToolLimits } from '../xz.ts';
import type { Member } from './member.ts';
import type { Shown } from './view.ts';

/** The comparison of an entry of an archive with the inode that a view shows at its path. */

const attributeKeyword = 'SCHILY.xattr.';
const overlayMark = /^(?:trusted|user)\.overlay\./;

/** True where all but the time and the content of a file is the same: the time is that of the installation. */
export function sameInode(member: Member, { layer, inode }: Shown): boolean {
  if (member.type !== inode.type || member.mode !== inode.mode) return false;
  if (member.uid !== inode.uid || member.gid !== inode.gid) return false;
  if (inode.type === 'file' && inode.sizeBytes !== member.sizeBytes) return false;
  if (inode.type === 'symlink' && inode.target !== member.target) return false;
  if (inode.type === 'block' || inode.type === 'character') {
    const { major, minor } = deviceNumbers(inode.device);
    if (major !== member.major || minor !== member.minor) return false;
  }
  return sameAttributes(member, { layer, inode });
}

function sameAttributes(member: Member, { layer, inode }: Shown): boolean {
  const theirs = new Map(attributesOf(layer, inode).map(({ name, value }) => [name, value]));
  const wanted = [...theirs.keys()].filter((name) => !overlayMark.test(name)).length;
  let same = 0;
  for (const [keyword, value] of member.records) {
    if (!keyword.startsWith(attributeKeyword)) continue;
    const name = keyword.slice(attributeKeyword.length);
    if (overlayMark.test(name)) continue;
    if (theirs.get(name)?.equals(value) !== true) return false;
    same += 1;
  }
  return same === wanted;
}

/** The value of a mark of overlayfs on an entry, in the namespace of root or of users. */
export function overlayMarkOf(member: Member, name: string): string | undefined {
  const found = ['trusted', 'user'].map((space) => member.records.get(`${attributeKeyword}${space}.overlay.${name}`));
  return (found[0] ?? found[1])?.toString('latin1');
}

/** True for the keyword of a mark of overlayfs that layers do not need. */
export function isBookkeeping(keyword: string): boolean {
  if (!keyword.startsWith(attributeKeyword)) return false;
  const name = keyword.slice(attributeKeyword.length);
  return overlayMark.test(name) && !name.endsWith('.opaque');
}

/** True for the keyword of the mark by which a directory hides what layers below have there. */
export function isOpaqueMark(keyword: string): boolean {
  return (
    keyword.startsWith(attributeKeyword) &&
    /^(?:trusted|user)\.overlay\.opaque$/.test(keyword.slice(attributeKeyword.length))
  );
}

/** A file of an archive that may be the same as one of a layer, by everything but its content. */
export interface Candidate {
  /** Number of the entry in the archive. */
  readonly index: number;
  /** Place of its content in the archive. */
  readonly contentAt: number;
  readonly layer: Squashfs;
  readonly file: FileInode;
}

interface Comparison extends Candidate {
  readonly part: ContentPart;
}

/** Unpacked bytes that are in memory at a time. */
const batchBytes = 32 * 2 ** 20;

/**
 * The numbers of those candidates whose content is another. Each block of a layer is unpacked once, however many small
 * files it holds. Throws `image.corrupt` for blocks that cannot be unpacked, or the reason of the signal.
 */
export async function findDifferent(
  archive: Region,
  candidates: readonly Candidate[],
  limits: ToolLimits,
): Promise<Set<number>> {
  const different = new Set<number>();
  for (const layer of new Set(candidates.map((candidate) => candidate.layer))) {
    const comparisons = candidates
      .filter((candidate) => candidate.layer === layer)
      .flatMap((candidate): Comparison[] =>
        [...contentParts(layer, candidate.file)].map((part) => ({ ...candidate, part })),
      )
      .sort((one, other) => one.part.start - other.part.start);
    const most = Math.ceil(batchBytes / layer.superblock.blockSizeBytes);
    for (const batch of batchesOf(comparisons, most)) await compareBatch(archive, layer, batch, different, limits);
  }
  return different;
}

/** Comparisons that need at most so many blocks. */
function* batchesOf(comparisons: readonly Comparison[], mostBlocks: number): Generator<Comparison[]> {
  let batch: Comparison[] = [];
  const starts = new Set<number>();
  for (const comparison of comparisons) {
    const { start } = comparison.part;
    if (starts.size === mostBlocks && !starts.has(start)) {
      yield batch;
      batch = [];
      starts.clear();
    }
    starts.add(start);
    batch.push(comparison);
  }
  yield batch;
}

async function compareBatch(
  archive: Region,
  layer: Squashfs,
  batch: readonly Comparison[],
  different: Set<number>,
  limits: ToolLimits,
): Promise<void> {
  const packed = new Map<number, PackedBlock>();
  for (const { part, index } of batch) {
    limits.signal.throwIfAborted();
    if (part.size === 0 || packed.has(part.start) || different.has(index)) continue;
    packed.set(part.start, await readPacked(layer.region, part));
  }
  const { compressor, blockSizeBytes } = layer.superblock;
  const unpacked = await unpackBlocks([...packed.values()], compressor, blockSizeBytes, limits);
  const blocks = new Map([...packed.keys()].map((start, number) => [start, unpacked[number]]));
  const zeros = Buffer.alloc(blockSizeBytes);
  for (const { part, index, contentAt } of batch) {
    if (different.has(index)) continue;
    const theirs = part.size === 0 ? zeros.subarray(0, part.length) : cutPart(blocks.get(part.start), part);
    if (!theirs.equals(await readRegion(archive, contentAt + part.at, part.length))) different.add(index);
  }
}
