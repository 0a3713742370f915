import type { Attribute } from '../attributes.ts';
import { attributesOf, childrenOf, isWhiteout, type Tree } from '../entry.ts';
import type { DirectoryInode, Inode } from '../inode.ts';
import { unsupported } from '../refusals.ts';

/**
 * A delta laid over a base as overlayfs lays an upper directory over a lower one (Linux
 * Documentation/filesystems/overlayfs.rst). Nothing is kept: each directory is merged when it is read.
 */
export interface Overlay {
  readonly base: Tree;
  readonly delta: Tree;
  /** True where nothing lies below the base: deletions then have no use in the result. */
  readonly bottom: boolean;
}

/** An inode of one of the two, in its place in the result. */
export interface Merged {
  readonly from: 'base' | 'delta';
  readonly inode: Inode;
  /** Null for all but directories. */
  readonly directory: MergedDirectory | null;
}

export interface MergedDirectory {
  /** The directories whose content shows, of either. */
  readonly base: DirectoryInode | null;
  readonly delta: DirectoryInode | null;
  /** The result needs the mark that hides the same directory in layers below. */
  readonly opaque: boolean;
  /** Nothing of layers below shows here. */
  readonly covered: boolean;
}

const opaqueName = 'trusted.overlay.opaque';
/** Overlays that a user mounts keep their marks here. */
const prefixes = ['trusted.overlay.', 'user.overlay.'] as const;
const opaque: Attribute = { name: opaqueName, value: Buffer.from('y') };
/** Marks of content that is elsewhere, which a delta does not have by the options of its mount. */
const elsewhere = ['metacopy', 'redirect', 'whiteout'];

/** The root, whose owner, mode and time are the base's. */
export function mergedRoot({ base, delta, bottom }: Overlay): Merged {
  const directory = { base: base.root, delta: delta.root, opaque: false, covered: bottom };
  return { from: 'base', inode: base.root, directory };
}

/** The names of a directory of the result, in the order of their bytes. Throws as `resultAttributes` does. */
export function* mergedChildren(
  overlay: Overlay,
  directory: MergedDirectory,
): Generator<{ readonly name: string; readonly merged: Merged }> {
  const lower = childrenIn(overlay.base, directory.base);
  const upper = childrenIn(overlay.delta, directory.delta);
  let below = lower.next();
  let above = upper.next();
  while (below.done !== true || above.done !== true) {
    const belowName = below.done === true ? null : below.value.name;
    const aboveName = above.done === true ? null : above.value.name;
    const name = aboveName === null || (belowName !== null && belowName < aboveName) ? belowName : aboveName;
    if (name === null) return;
    const old = below.done !== true && belowName === name ? below.value.inode : null;
    const changed = above.done !== true && aboveName === name ? above.value.inode : null;
    const merged = changed === null ? kept(overlay, old) : placed(overlay, directory, old, changed);
    if (merged !== null) yield { name, merged };
    if (belowName === name) below = lower.next();
    if (aboveName === name) above = upper.next();
  }
}

function childrenIn(tree: Tree, directory: DirectoryInode | null): Iterator<{ name: string; inode: Inode }> {
  return directory === null ? [][Symbol.iterator]() : childrenOf(tree, directory);
}

/** An inode of the base over which the delta has nothing. */
function kept({ bottom }: Overlay, inode: Inode | null): Merged | null {
  if (inode === null || (bottom && isWhiteout(inode))) return null;
  if (inode.type !== 'directory') return { from: 'base', inode, directory: null };
  return { from: 'base', inode, directory: { base: inode, delta: null, opaque: false, covered: bottom } };
}

/** An inode of the delta, over `old` of the base. */
function placed(overlay: Overlay, parent: MergedDirectory, old: Inode | null, inode: Inode): Merged | null {
  if (isWhiteout(inode)) return parent.covered ? null : { from: 'delta', inode, directory: null };
  if (inode.type !== 'directory') return { from: 'delta', inode, directory: null };
  const isMarked = hasMark(overlay.delta, inode, prefixes);
  const base = old?.type === 'directory' && !isMarked ? old : null;
  // A directory in the place of a file or of a deletion shows nothing of layers below either.
  const hides = base === null ? isMarked || old !== null : hasMark(overlay.base, base, [prefixes[0]]);
  const needsMark = hides && !parent.covered;
  const directory = { base, delta: inode, opaque: needsMark, covered: parent.covered || hides };
  return { from: 'delta', inode, directory };
}

function hasMark(tree: Tree, inode: Inode, allowed: readonly string[]): boolean {
  return attributesOf(tree, inode).some(
    ({ name, value }) => allowed.some((prefix) => name === `${prefix}opaque`) && value.toString('latin1') === 'y',
  );
}

/**
 * The attributes of an inode in the result. Of the delta's own marks of overlayfs only those stay that the result needs.
 * Throws `image.unsupported` for a delta whose marks refer to content elsewhere.
 */
export function resultAttributes(overlay: Overlay, { from, inode, directory }: Merged): readonly Attribute[] {
  if (from === 'base') return attributesOf(overlay.base, inode);
  const own = attributesOf(overlay.delta, inode).filter(({ name }) => {
    const prefix = prefixes.find((each) => name.startsWith(each));
    if (prefix !== undefined && elsewhere.includes(name.slice(prefix.length))) {
      throw unsupported(`the delta has the attribute ${name}, by which its content is elsewhere`);
    }
    return prefix === undefined;
  });
  return directory?.opaque === true ? [...own, opaque] : own;
}
