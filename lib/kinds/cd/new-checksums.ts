import { followPath } from '../../iso9660/follow.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import {
  type ChecksumAlgorithm,
  type ChecksumList,
  type ListedFile,
  listedFiles,
  type NewDigests,
  updateChecksums,
} from '../../medium/checksum-lines.ts';
import { algorithmsOf, type Digests, hashText } from './checksum-lists.ts';

/** Digests of the new file of a path, which is a file of the worker. */
export type HashFile = (path: string, file: string, algorithms: ReadonlySet<ChecksumAlgorithm>) => Promise<Digests>;

/**
 * The new texts of the lists of checksums of a medium, by their paths, where `changed` holds its new files: those lists
 * that stay are left out. Lists name other lists, too: those come first. Lines of the `rewritten` files go: writing the
 * medium changes these. Throws as `updateChecksums` and `hash` do.
 */
export async function updateChecksumLists(
  lists: readonly ChecksumList[],
  files: IsoTree,
  changed: ReadonlyMap<string, string>,
  rewritten: ReadonlySet<string>,
  hash: HashFile,
): Promise<ReadonlyMap<string, string>> {
  const follow = (path: string) => followPath(files, path);
  const listed = new Map(lists.map((list) => [list.path, listedFiles(list, follow)]));
  const algorithms = algorithmsOf([...listed.values()].flat());
  const digests = new Map<string, NewDigests>();
  for (const path of rewritten) digests.set(path, null);
  for (const [path, file] of changed) {
    const wanted = algorithms.get(path);
    if (wanted !== undefined) digests.set(path, await hash(path, file, wanted));
  }
  const texts = new Map<string, string>();
  for (const list of inOrder(lists, listed, algorithms)) {
    const text = updateChecksums(list, follow, (path) => digests.get(path));
    if (text === list.text) continue;
    texts.set(list.path, text);
    const own = [...(algorithms.get(list.path) ?? [])].map((name) => [name, hashText(text, name)] as const);
    if (own.length > 0) digests.set(list.path, new Map(own));
  }
  return texts;
}

/**
 * The lists, each after those that it names with the right digest. One that was wrong in the base stays so: two lists
 * cannot both have the digest of the other.
 */
function* inOrder(
  lists: readonly ChecksumList[],
  listed: ReadonlyMap<string, readonly ListedFile[]>,
  algorithms: ReturnType<typeof algorithmsOf>,
): Generator<ChecksumList> {
  const byPath = new Map(lists.map((list) => [list.path, list]));
  const right = new Set<string>();
  for (const { path, text } of lists) {
    for (const name of algorithms.get(path) ?? []) right.add(`${path}\n${hashText(text, name)}`);
  }
  const [begun, ended] = [new Set<ChecksumList>(), new Set<ChecksumList>()];
  const waiting = lists.toReversed();
  for (let list = waiting.at(-1); list !== undefined; list = waiting.at(-1)) {
    if (begun.has(list)) {
      waiting.pop();
      if (!ended.has(list)) yield list;
      ended.add(list);
      continue;
    }
    begun.add(list);
    for (const { path, hex } of listed.get(list.path) ?? []) {
      const other = byPath.get(path);
      if (other !== undefined && !begun.has(other) && right.has(`${path}\n${hex}`)) waiting.push(other);
    }
  }
}
