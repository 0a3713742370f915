import { createHash } from 'node:crypto';
import { copyFile, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { isNodeError } from '../errors.ts';
import type { FileCache } from '../fetch/cache.ts';
import { addOwnFile, type OwnFile } from '../fetch/own-file.ts';

/** Files and records of this worker in a cache, by keys in the place of URLs. */

/** The record with this key; null where it is gone or damaged. Its type is that of who has put it there. */
export async function readRecord<Value>(cache: FileCache, key: string): Promise<Value | null> {
  const entry = await cache.find(key);
  if (entry === null) return null;
  await using file = await cache.open(entry.sha256);
  const content = (await file?.readFile()) ?? null;
  return content !== null && digest(content) === entry.sha256 ? (deserialize(content) as Value) : null;
}

/** Puts a record in place. `workDirectory` belongs to this build alone. */
export async function addRecord(cache: FileCache, key: string, value: unknown, workDirectory: string): Promise<void> {
  const content = serialize(value);
  const path = join(workDirectory, 'cached-record');
  await writeFile(path, content);
  await addFile(cache, path, { url: key, sizeBytes: content.length, sha256: digest(content) });
}

/** By a rename into the folder for unfinished files, and one into its place: nobody sees a part of a file. */
export async function addFile(cache: FileCache, path: string, file: OwnFile): Promise<void> {
  const part = cache.partPath();
  // Another worker would take a file that was made long ago for a dead one's.
  await utimes(path, new Date(), new Date());
  await rename(path, part).catch(async (error: unknown) => {
    if (!isNodeError(error) || error.code !== 'EXDEV') throw error;
    await copyFile(path, part);
  });
  await addOwnFile(cache, part, file);
}

function digest(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
