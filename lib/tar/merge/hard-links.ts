import type { RootEntry } from '../root-entry.ts';

/** A file and all its names. */
export interface HardLinks {
  /** The name that has the content. */
  readonly path: string;
  readonly file: RootEntry;
  readonly names: ReadonlySet<string>;
}

/** Whether two files have the same names, each in its archive. */
export function sameNames(one: HardLinks, other: HardLinks): boolean {
  return one.names.size === other.names.size && one.names.isSubsetOf(other.names);
}

/** The files of an archive by each of their names. */
export function findHardLinks(entries: ReadonlyMap<string, RootEntry>): Map<string, HardLinks> {
  const found = new Map<string, HardLinks & { readonly names: Set<string> }>();
  for (const [path, entry] of entries) {
    if (entry.type === 'file') found.set(path, { path, file: entry, names: new Set([path]) });
    if (entry.type !== 'link') continue;
    // Reading has made sure that a link follows its file.
    const links = found.get(entry.target);
    if (links === undefined) continue;
    links.names.add(path);
    found.set(path, links);
  }
  return found;
}
