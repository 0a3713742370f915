import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { readAt } from '../image/read-at.ts';
import type { IsoEntry, IsoTree } from './tree.ts';
import { corrupt, type Extent, shown, unsupported } from './volume.ts';

/** Ways to the content of files in an inspected medium. */

/**
 * The bytes of a small file at `path`; null where there is no such file. A link is none. Throws `image.too_large` for one
 * of more than `maximumBytes`, and `image.unsupported` for one that is stored compressed.
 */
export async function readIsoFile(
  handle: FileHandle,
  files: IsoTree,
  path: string,
  maximumBytes: number,
): Promise<Buffer | null> {
  const entry = files.get(path);
  if (entry?.type !== 'file') return null;
  if (entry.sizeBytes > maximumBytes) {
    throw new ImageBuilderError(
      'image.too_large',
      shown(`/${path} of the medium has ${entry.sizeBytes} bytes; at most ${maximumBytes} bytes are read`),
    );
  }
  refuseEncoded(path, entry);
  const parts: Buffer[] = [];
  for (const { offsetBytes, sizeBytes } of entry.extents) parts.push(await readAt(handle, offsetBytes, sizeBytes));
  return Buffer.concat(parts);
}

/**
 * The one run of bytes that holds the file at `path`, such as a layer that a guest opens in its place. Throws
 * `image.corrupt` where there is no such file, `image.unsupported` where it is stored compressed, in pieces or empty.
 */
export function runOf(files: IsoTree, path: string): Extent {
  const entry = files.get(path);
  if (entry?.type !== 'file') throw corrupt(`it has no file /${path}`);
  refuseEncoded(path, entry);
  const [run, ...more] = entry.extents;
  if (run === undefined) throw unsupported(`/${path} is empty`);
  if (more.length > 0) throw unsupported(`/${path} is stored in ${entry.extents.length} pieces`);
  return run;
}

function refuseEncoded(path: string, { encoding }: IsoEntry): void {
  if (encoding === 'zisofs') throw unsupported(`/${path} is stored compressed (zisofs)`);
  if (encoding === 'sparse') throw unsupported(`/${path} is stored as a sparse file of Rock Ridge`);
}
