import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { isChecksumName } from '../../checksums.ts';
import { readAt } from '../../image/read-at.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { type ChecksumAlgorithm, checksumAlgorithm } from '../../medium/lists.ts';

/** A list of checksums in the root folder of a medium, such as `md5sum.txt`. */
export interface ChecksumList {
  readonly path: string;
  readonly text: string;
  readonly algorithm: ChecksumAlgorithm;
}

/** Lists of desktop media have some hundred KB. */
const maximumListBytes = 16 * 2 ** 20;
const chunkBytes = 4 * 2 ** 20;

/** The text of a list on a medium, each character one byte; null where there is none. Throws as `readIsoFile` does. */
export async function readList(medium: FileHandle, files: IsoTree, path: string): Promise<string | null> {
  const bytes = await readIsoFile(medium, files, path, maximumListBytes);
  return bytes?.toString('latin1') ?? null;
}

/** All lists of checksums of a medium. Throws as `readIsoFile` does. */
export async function readChecksumLists(medium: FileHandle, files: IsoTree): Promise<ChecksumList[]> {
  const lists: ChecksumList[] = [];
  for (const path of files.keys()) {
    if (path.includes('/') || !isChecksumName(path)) continue;
    const text = await readList(medium, files, path);
    const algorithm = text === null ? null : checksumAlgorithm(text);
    if (text !== null && algorithm !== null) lists.push({ path, text, algorithm });
  }
  return lists;
}

/** A part of a file. */
interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Digests in hexadecimal by each algorithm, of the parts of a file one behind the other, which are read once. */
export async function hashExtents(
  handle: FileHandle,
  extents: readonly Extent[],
  algorithms: ReadonlySet<ChecksumAlgorithm>,
  signal: AbortSignal,
): Promise<ReadonlyMap<ChecksumAlgorithm, string>> {
  const hashes = [...algorithms].map((algorithm) => [algorithm, createHash(algorithm)] as const);
  if (hashes.length === 0) return new Map();
  for (const { offsetBytes, sizeBytes } of extents) {
    for (let at = 0; at < sizeBytes; at += chunkBytes) {
      signal.throwIfAborted();
      const bytes = await readAt(handle, offsetBytes + at, Math.min(chunkBytes, sizeBytes - at));
      for (const [, hash] of hashes) hash.update(bytes);
    }
  }
  return new Map(hashes.map(([algorithm, hash]) => [algorithm, hash.digest('hex')]));
}
