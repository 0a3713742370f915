import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { isChecksumName } from '../../checksums.ts';
import { followPath } from '../../iso9660/follow.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import {
  type ChecksumAlgorithm,
  type ChecksumList,
  isMediumList,
  type ListedFile,
  listedFiles,
  unknownAlgorithm,
} from '../../medium/checksum-lines.ts';

/** Digests in hexadecimal, by their algorithms. */
export type Digests = ReadonlyMap<ChecksumAlgorithm, string>;

/** Lists of desktop media have some hundred KB. */
const maximumListBytes = 16 * 2 ** 20;
/** All lists of checksums of a medium together. */
const maximumListsBytes = 64 * 2 ** 20;

/** The text of a list on a medium, each character one byte; null where there is none. Throws as `readIsoFile` does. */
export async function readList(medium: FileHandle, files: IsoTree, path: string): Promise<string | null> {
  const bytes = await readIsoFile(medium, files, path, maximumListBytes);
  return bytes?.toString('latin1') ?? null;
}

/** All lists of checksums of a medium, in any folder. Throws as `readIsoFile` and `isMediumList` do. */
export async function readChecksumLists(medium: FileHandle, files: IsoTree): Promise<ChecksumList[]> {
  const lists: ChecksumList[] = [];
  let roomBytes = maximumListsBytes;
  for (const [path, { type, sizeBytes }] of files) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (type !== 'file' || !isChecksumName(name)) continue;
    // A large file of another folder has such a name by chance.
    if (name !== path && sizeBytes > Math.min(roomBytes, maximumListBytes)) continue;
    roomBytes -= sizeBytes;
    const text = await readList(medium, files, path);
    if (text !== null && isMediumList({ path, text })) lists.push({ path, text });
  }
  return lists;
}

/** Throws `image.unsupported` where a list names one of the files by an algorithm that is not computed here. */
export function assertKnownAlgorithms(
  lists: readonly ChecksumList[],
  files: IsoTree,
  changing: ReadonlySet<string>,
): void {
  for (const list of lists) {
    const unknown = listedFiles(list, (path) => followPath(files, path)).find(
      ({ path, algorithm }) => algorithm === null && changing.has(path),
    );
    if (unknown !== undefined) throw unknownAlgorithm(list.path, unknown.path);
  }
}

/** The algorithms by which lists name each file. */
export function algorithmsOf(listed: readonly ListedFile[]): ReadonlyMap<string, ReadonlySet<ChecksumAlgorithm>> {
  const algorithms = new Map<string, Set<ChecksumAlgorithm>>();
  for (const { path, algorithm } of listed) {
    const known = algorithms.get(path) ?? new Set();
    if (algorithm !== null) known.add(algorithm);
    algorithms.set(path, known);
  }
  return algorithms;
}

/** The digest of a text whose characters are bytes. */
export function hashText(text: string, algorithm: ChecksumAlgorithm): string {
  return createHash(algorithm).update(text, 'latin1').digest('hex');
}
