import type { FileHandle } from 'node:fs/promises';
import { type FileFormat, headBytes, recognise, tailBytes } from '../file-format.ts';
import { readAt } from './read-at.ts';

/** Recognises the format of an untrusted file by its own first and last bytes, whatever its name. */
export async function recogniseFile(handle: FileHandle, fileBytes: number): Promise<FileFormat> {
  const head = await readAt(handle, 0, Math.min(fileBytes, headBytes));
  const tail = await readAt(handle, Math.max(0, fileBytes - tailBytes), Math.min(fileBytes, tailBytes));
  return recognise({ head, tail });
}
