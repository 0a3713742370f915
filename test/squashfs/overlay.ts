import type { FileSpec, Files } from './files.ts';
import { sortedPaths } from './files.ts';

/**
 * The view of layers laid over each other, the lowest first, by paths: another way to it than that of
 * `lib/squashfs/splice`, to compare with. Marks of overlayfs are not part of it.
 */
export function viewOf(...layers: readonly Files[]): Files {
  const view = new Map<string, FileSpec>();
  const clear = (path: string) => {
    for (const each of [...view.keys()]) if (each.startsWith(`${path}/`)) view.delete(each);
  };
  for (const [number, layer] of layers.entries()) {
    for (const path of sortedPaths(layer)) {
      const file = layer.get(path);
      if (file === undefined) continue;
      if (file.type !== 'directory' || isOpaque(file) || view.get(path)?.type !== 'directory') clear(path);
      if (isWhiteout(file)) {
        view.delete(path);
        continue;
      }
      const attributes = Object.fromEntries(
        Object.entries(file.attributes ?? {}).filter(([name]) => !/^(trusted|user)\.overlay\./.test(name)),
      );
      view.set(path, {
        ...file,
        attributes,
        ...(file.inode === undefined ? {} : { inode: `${number} ${file.inode}` }),
      });
    }
  }
  return view;
}

function isWhiteout(file: FileSpec): boolean {
  return file.type === 'character' && file.device?.[0] === 0 && file.device[1] === 0;
}

function isOpaque(file: FileSpec): boolean {
  const value = file.attributes?.['trusted.overlay.opaque'] ?? file.attributes?.['user.overlay.opaque'];
  return value?.toString() === 'y';
}
