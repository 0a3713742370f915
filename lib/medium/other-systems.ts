import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { rawDisk } from '../image/disk.ts';
import { detectFileSystem } from '../image/file-system.ts';
import type { FileSystemType } from '../image/partition.ts';
import type { IsoTree } from '../iso9660/tree.ts';
import { plain } from '../text.ts';

/** File systems on a medium, found by their content, that may hold a system and are no layers that can be changed. */
export interface OtherSystem {
  /** Without a leading slash. */
  readonly path: string;
  /** For people: `an ext4 file system`. */
  readonly content: string;
}

/** Contents that hold systems. Others, such as a FAT with boot loaders, do not. */
const contents: ReadonlyMap<FileSystemType, string> = new Map([
  ['squashfs', 'a SquashFS'],
  ['erofs', 'an EROFS file system'],
  ['ext2', 'an ext2 file system'],
  ['ext3', 'an ext3 file system'],
  ['ext4', 'an ext4 file system'],
  ['xfs', 'an XFS file system'],
  ['btrfs', 'a Btrfs file system'],
  ['f2fs', 'an F2FS file system'],
  ['luks', 'a LUKS volume'],
]);
/** Suffixes by which casper, live-boot or people call such files. */
const suffixes = /\.(?:squashfs|erofs|ext[234]|xfs|btrfs|jffs2|img|sfs)$/i;
/** Packages and snaps hold file systems, too. */
const isPackage = /^(?:pool|dists)\/|\.(?:u?deb|snap)$/i;
/** The system of a medium is larger, whatever its name. */
const leastBytes = 2 ** 20;
/** The beginnings of some files are read. */
const mostFiles = 200;

/**
 * Looks into the largest files of a medium, and into those with the usual suffixes. In `folders`, where casper or
 * live-boot look for layers, the name alone counts too. Throws `image.truncated`.
 */
export async function findOtherSystems(
  handle: FileHandle,
  files: IsoTree,
  folders: ReadonlySet<string>,
): Promise<OtherSystem[]> {
  const isInPlace = (path: string) => folders.has(path.slice(0, Math.max(0, path.lastIndexOf('/'))));
  const disk = rawDisk(handle, (await handle.stat()).size);
  const candidates = [...files].filter(([path, { type, sizeBytes, extents, encoding }]) => {
    if (type !== 'file' || encoding !== null || extents.length !== 1 || isPackage.test(path)) return false;
    return sizeBytes >= leastBytes || suffixes.test(path);
  });
  const largest = candidates.sort(([, one], [, other]) => other.sizeBytes - one.sizeBytes).slice(0, mostFiles);
  const found: OtherSystem[] = [];
  for (const [path, { extents, sizeBytes }] of largest) {
    const [run] = extents;
    if (run === undefined) continue;
    const type = (await detectFileSystem(disk, run.offsetBytes, sizeBytes))?.type;
    const content = type === undefined ? undefined : contents.get(type);
    const isLayer = type === 'squashfs' && path.endsWith('.squashfs');
    if (content !== undefined && !isLayer) found.push({ path, content });
    else if (content === undefined && isInPlace(path) && isLaid(path, 'live-boot')) {
      found.push({ path, content: 'a file without a known file system' });
    }
  }
  const trees = [...files].filter(([path, { type }]) => type === 'folder' && isInPlace(path) && /\.dir$/.test(path));
  return [...found, ...trees.map(([path]) => ({ path, content: 'a folder' }))];
}

/** Suffixes of the files and folders, beside SquashFS, that these programs lay over each other. */
const laid: Readonly<Record<'casper' | 'live-boot', RegExp>> = {
  casper: /\.(?:ext2|dir)$/,
  'live-boot': /\.(?:ext[234]|xfs|jffs2|erofs|dir)$/,
};

/** Whether a program takes a file or folder in the folder of its layers for one of these, by its name. */
export function isLaid(path: string, program: 'casper' | 'live-boot'): boolean {
  return laid[program].test(path);
}

/** The layers that can be changed, in words. */
export const onlySquashfs =
  'layers can be changed that are SquashFS, by content and by name (/casper/*.squashfs or /live/*.squashfs)';

/** `an ext4 file system (/live/filesystem.ext4)` */
export function shownSystem({ path, content }: OtherSystem): string {
  return `${content} (${plain(`/${path}`)})`;
}

/** The refusal of a medium that starts such a system. */
export function otherSystem(reason: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the medium cannot be changed: ${reason}; ${onlySquashfs}`);
}
