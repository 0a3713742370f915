import { chmod, copyFile, lutimes, mkdir, readdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The files of a package before they are packed, by their path below its root, such as `usr/bin/imagebuilder`. */
export type Tree = ReadonlyMap<string, Entry>;

export type Entry =
  | { readonly content: string | Uint8Array; readonly mode?: number }
  /** A copy of the file with this path. */
  | { readonly source: string; readonly mode?: number }
  /** A symbolic link with this target. */
  | { readonly link: string }
  /** An empty folder. */
  | { readonly folder: true; readonly mode?: number };

const folderMode = 0o755;
const fileMode = 0o644;

/**
 * Writes the tree into `directory`. Every time is `seconds` since 1970, and modes do not depend on the umask, so that the
 * same tree gives the same bytes when it is packed.
 */
export async function writeTree(tree: Tree, directory: string, seconds: number): Promise<void> {
  for (const [path, entry] of tree) {
    const target = join(directory, path);
    await mkdir(dirname(target), { recursive: true });
    if ('link' in entry) await symlink(entry.link, target);
    else if ('folder' in entry) await mkdir(target, { recursive: true });
    else if ('source' in entry) await copyFile(entry.source, target);
    else await writeFile(target, entry.content);
  }
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const listed = tree.get(path.slice(directory.length + 1));
    const mode = (listed !== undefined && 'mode' in listed ? listed.mode : undefined) ?? null;
    if (!entry.isSymbolicLink()) await chmod(path, mode ?? (entry.isDirectory() ? folderMode : fileMode));
    await (entry.isSymbolicLink() ? lutimes : utimes)(path, seconds, seconds);
  }
  await chmod(directory, folderMode);
  await utimes(directory, seconds, seconds);
}
