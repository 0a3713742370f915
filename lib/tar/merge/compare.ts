import { sameAttributes } from '../attributes.ts';
import { type Region, readPieces } from '../region.ts';
import type { RootArchive } from '../root-archive.ts';
import type { RootEntry } from '../root-entry.ts';
import { findHardLinks, sameNames } from './hard-links.ts';

/** An archive and the file that it lies in. */
export interface OpenedArchive extends RootArchive {
  readonly region: Region;
}

/** True where all but the times and the content of files is the same. */
export function sameProperties(one: RootEntry, other: RootEntry): boolean {
  return (
    one.type === other.type &&
    one.mode === other.mode &&
    one.uid === other.uid &&
    one.gid === other.gid &&
    one.sizeBytes === other.sizeBytes &&
    one.target === other.target &&
    (!isDevice(one) || (one.major === other.major && one.minor === other.minor)) &&
    sameAttributes(one.attributes, other.attributes)
  );
}

function isDevice({ type }: RootEntry): boolean {
  return type === 'character' || type === 'block';
}

/**
 * The paths of `delta` that are as in `base` but for their times: dpkg writes files anew that stay the same, and folders
 * get another time with each file in them. Throws the reason of the signal.
 */
export async function findSame(base: OpenedArchive, delta: OpenedArchive, signal: AbortSignal): Promise<Set<string>> {
  const same = new Set<string>();
  const links = { base: findHardLinks(base.entries), delta: findHardLinks(delta.entries) };
  for (const [path, entry] of delta.entries) {
    const before = base.entries.get(path);
    if (before === undefined || entry.type === 'link') continue;
    if (entry.type !== 'file') {
      if (sameProperties(before, entry)) same.add(path);
      continue;
    }
    const [theirs, ours] = [links.base.get(path), links.delta.get(path)];
    if (theirs === undefined || ours === undefined || !sameNames(theirs, ours)) continue;
    if (!sameProperties(theirs.file, entry)) continue;
    const places = [place(base, theirs.file), place(delta, entry)] as const;
    if (await sameBytes(...places, signal)) for (const name of ours.names) same.add(name);
  }
  return same;
}

/** Bytes of a file. */
interface Place {
  readonly region: Region;
  readonly start: number;
  readonly end: number;
}

export function place({ region }: OpenedArchive, { contentAt, sizeBytes }: RootEntry): Place {
  return { region, start: contentAt, end: contentAt + sizeBytes };
}

/** Whether two places hold the same bytes. Throws the reason of the signal. */
export async function sameBytes(one: Place, other: Place, signal: AbortSignal): Promise<boolean> {
  if (one.end - one.start !== other.end - other.start) return false;
  let at = other.start;
  for await (const bytes of readPieces(one.region, one.start, one.end, signal)) {
    const end = at + bytes.length;
    for await (const others of readPieces(other.region, at, end, signal)) {
      const from = at - end + bytes.length;
      if (!others.equals(bytes.subarray(from, from + others.length))) return false;
      at += others.length;
    }
  }
  return true;
}
