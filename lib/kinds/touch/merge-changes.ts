import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type CompressOptions, writeCompressed } from '../../image/compress.ts';
import { findSame, type OpenedArchive } from '../../tar/merge/compare.ts';
import { mergedContent } from '../../tar/merge/content.ts';
import { type MergePlan, planMerge } from '../../tar/merge/plan.ts';
import { verifyMerge } from '../../tar/merge/verify.ts';
import type { RootArchive } from '../../tar/root-archive.ts';
import { type ArchiveOptions, type BaseArchive, readArchive, unpackArchive } from './base-archive.ts';

/** The changes of a build, as a guest has written them. */
export interface Changes {
  /** A tar of the files that are new or changed, and a list of those that are gone, with zero bytes between. */
  readonly path: string;
  readonly gonePath: string;
  /** When the guest opened the image, in seconds since 1970. */
  readonly startedSeconds: number;
}

/** A finished archive and everything that it is made of. */
export interface Merged {
  readonly plan: MergePlan;
  readonly delta: RootArchive;
  readonly deltaPath: string;
}

/** Writes the base with the changes in it to a new file. Throws as `planMerge` and `writeCompressed` do. */
export async function writeMerged(
  base: BaseArchive,
  changes: Changes,
  path: string,
  options: Omit<CompressOptions, 'compression' | 'gzipLevel'> & { readonly onProgress: (fraction: number) => void },
): Promise<Merged> {
  const { signal, onProgress } = options;
  const delta = await readArchive(changes.path, { signal }, 'changes');
  const gone = new Set((await readFile(changes.gonePath, 'latin1')).split('\0').filter((name) => name !== ''));
  await using opened = new AsyncDisposableStack();
  const sources = {
    base: await openArchive(opened, base.path, base.archive),
    delta: await openArchive(opened, changes.path, delta),
  };
  const same = await findSame(sources.base, sources.delta, signal);
  const { startedSeconds } = changes;
  const plan = planMerge({ base: base.archive, delta, same, gone, startedSeconds });
  const regions = { base: sources.base.region, delta: sources.delta.region };
  async function* counted() {
    let done = 0;
    for await (const bytes of mergedContent(plan, regions, signal)) {
      yield bytes;
      done += bytes.length;
      onProgress(done / plan.sizeBytes);
    }
  }
  const { compression, gzipLevel } = base;
  await writeCompressed(path, counted(), { ...options, compression, gzipLevel });
  return { plan, delta, deltaPath: changes.path };
}

export interface CheckMergedOptions extends ArchiveOptions {
  /** Path for the archive as it is without its compression; the caller removes it. */
  readonly unpackedPath: string;
}

/** Reads a finished archive anew, and compares it with what it is made of. Throws `image.output` where it differs. */
export async function checkMerged(
  path: string,
  base: BaseArchive,
  { plan, delta, deltaPath }: Merged,
  options: CheckMergedOptions,
): Promise<void> {
  const { signal, unpackedPath } = options;
  const { compression } = base;
  const plainPath = compression === 'none' ? path : unpackedPath;
  if (compression !== 'none') await unpackArchive(path, compression, unpackedPath, options);
  const result = await readArchive(plainPath, { signal });
  await using opened = new AsyncDisposableStack();
  const sources = {
    base: await openArchive(opened, base.path, base.archive),
    delta: await openArchive(opened, deltaPath, delta),
  };
  await verifyMerge(await openArchive(opened, plainPath, result), { ...sources, plan }, signal);
}

async function openArchive(stack: AsyncDisposableStack, path: string, archive: RootArchive): Promise<OpenedArchive> {
  const handle: FileHandle = stack.use(await open(path, 'r'));
  return { ...archive, region: { handle, offset: 0, length: (await handle.stat()).size } };
}
