import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import { isNodeError } from '#lib/errors.ts';
import { filePathOf } from '#lib/store/file/file-path.ts';

/** A file beside an image, in the file store of this machine. */
export interface StoredFile {
  readonly size: number;
  readonly bytes: Readable;
}

/** A file of the build; null where it is not on this machine, or this user may not read it. */
export async function openStoredFile(
  storeDirectory: string,
  buildId: string,
  artifact: Pick<ArtifactReport, 'store' | 'id' | 'name'>,
): Promise<StoredFile | null> {
  const path = filePathOf(storeDirectory, buildId, artifact);
  if (path === null) return null;
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { size } = await file.stat();
    // No more than its Content-Length, also where somebody writes to the file.
    return { size, bytes: file.createReadStream(size === 0 ? {} : { end: size - 1 }) };
  } catch (error) {
    if (isNodeError(error) && ['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(error.code ?? '')) return null;
    throw error;
  }
}
