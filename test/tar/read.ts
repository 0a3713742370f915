import { open } from 'node:fs/promises';
import { type RootArchive, type RootLimits, readRootArchive } from '#lib/tar/root-archive.ts';
import { withFile } from '../unit/image/temporary.ts';

export const rootLimits: RootLimits = {
  maximumEntries: 100_000,
  maximumNameBytes: 2 ** 24,
  scope: 'whole',
  signal: new AbortController().signal,
};

/** Reads an archive from the file that holds it. */
export async function readFileAsRoot(path: string, limits: Partial<RootLimits> = {}): Promise<RootArchive> {
  await using handle = await open(path);
  const region = { handle, offset: 0, length: (await handle.stat()).size };
  return await readRootArchive(region, { ...rootLimits, ...limits });
}

export async function readRoot(archive: Buffer, limits: Partial<RootLimits> = {}): Promise<RootArchive> {
  return await withFile(archive, (path) => readFileAsRoot(path, limits));
}
