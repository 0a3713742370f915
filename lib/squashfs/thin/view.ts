import type { Attribute } from '../attributes.ts';
import { attributesOf, childrenOf, isWhiteout } from '../entry.ts';
import type { DirectoryInode, Inode } from '../inode.ts';
import type { Squashfs } from '../open.ts';

/** An inode that a view shows, and the layer that it is from. */
export interface Shown {
  readonly layer: Squashfs;
  readonly inode: Inode;
}

/** The files that layers laid over each other show. */
export interface LayerView {
  /** Null where the view shows nothing at this path. Symbolic links are not followed; each character is one byte. */
  find(path: string): Shown | null;
  /** The names in a directory, in no order; empty where there is none. */
  names(path: string): readonly string[];
}

interface Directory extends Shown {
  readonly inode: DirectoryInode;
}

/** A path: the directories that are merged there, the highest first; or another inode; or nothing. */
interface Place {
  readonly directories: readonly Directory[];
  readonly shown: Shown | null;
}

const nothing: Place = { directories: [], shown: null };
/** Directories that stay in memory; an archive has the entries of a directory side by side. */
const mostDirectories = 256;

/** A view of these layers, the lowest first, as overlayfs shows them. */
export function createView(layers: readonly Squashfs[]): LayerView {
  const names = new Map<string, ReadonlyMap<string, Inode>>();
  const places = new Map<string, Place>();
  const namesOf = ({ layer, inode }: Directory): ReadonlyMap<string, Inode> =>
    remembered(names, `${layers.indexOf(layer)} ${inode.position}`, () => {
      const found = new Map<string, Inode>();
      for (const child of childrenOf(layer, inode)) found.set(child.name, child.inode);
      return found;
    });
  const root: Place = placeOf(layers.toReversed().map((layer) => ({ layer, inode: layer.root })));
  const look = (path: string): Place => {
    if (path === '') return root;
    return remembered(places, path, () => {
      const slash = path.lastIndexOf('/');
      const { directories } = look(path.slice(0, Math.max(slash, 0)));
      return childOf(directories, path.slice(slash + 1), namesOf);
    });
  };
  return {
    find: (path) => look(path).shown,
    names(path) {
      const { directories } = look(path);
      const all = new Set(directories.flatMap((directory) => [...namesOf(directory).keys()]));
      return [...all].filter((name) => childOf(directories, name, namesOf).shown !== null);
    },
  };
}

function remembered<Value>(cache: Map<string, Value>, key: string, make: () => Value): Value {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const value = make();
  if (cache.size >= mostDirectories) cache.clear();
  cache.set(key, value);
  return value;
}

function placeOf(directories: readonly Directory[]): Place {
  return { directories, shown: directories[0] ?? null };
}

function childOf(
  parents: readonly Directory[],
  name: string,
  namesOf: (directory: Directory) => ReadonlyMap<string, Inode>,
): Place {
  const merged: Directory[] = [];
  for (const { layer, inode: parent } of parents) {
    const inode = namesOf({ layer, inode: parent }).get(name);
    if (inode === undefined) continue;
    if (inode.type !== 'directory') {
      if (merged.length === 0 && !isWhiteout(inode)) return { directories: [], shown: { layer, inode } };
      break;
    }
    merged.push({ layer, inode });
    if (attributesOf(layer, inode).some(isOpaqueMark)) break;
  }
  return merged.length === 0 ? nothing : placeOf(merged);
}

function isOpaqueMark({ name, value }: Attribute): boolean {
  return name === 'trusted.overlay.opaque' && value.toString('latin1') === 'y';
}
