import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import type { ByteRange } from '#lib/api/byte-range.ts';
import { isNodeError } from '#lib/errors.ts';
import { filePathOf } from '#lib/store/file/file-path.ts';

/** The log of a build that has ended, in the file store of this machine. */
export interface StoredLog {
  /** Bytes of the text. */
  readonly size: number;
  read(range: ByteRange): AsyncGenerator<Buffer, void>;
}

/** The log of the build; null where it is not on this machine, or this user may not read it. */
export async function openStoredLog(
  storeDirectory: string,
  buildId: string,
  artifact: Pick<ArtifactReport, 'store' | 'id' | 'name'>,
): Promise<StoredLog | null> {
  const path = filePathOf(storeDirectory, buildId, artifact);
  if (path === null) return null;
  try {
    let size = 0;
    for await (const chunk of await unpack(path)) size += chunk.length;
    return { size, read: (range) => readPart(path, range) };
  } catch (error) {
    if (isNodeError(error) && ['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(error.code ?? '')) return null;
    throw error;
  }
}

async function* readPart(path: string, { from, to }: ByteRange): AsyncGenerator<Buffer, void> {
  let at = 0;
  for await (const chunk of await unpack(path)) {
    if (at >= to) return;
    const part = chunk.subarray(Math.max(0, from - at), to - at);
    at += chunk.length;
    if (part.length > 0) yield part;
  }
}

/** The text as it comes; ending the iteration closes the file. */
async function unpack(path: string): Promise<AsyncIterable<Buffer>> {
  const file: FileHandle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const packed = file.createReadStream();
  const text = createGunzip();
  packed.on('error', (error) => text.destroy(error));
  text.on('close', () => packed.destroy());
  return packed.pipe(text);
}
