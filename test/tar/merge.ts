import { open, writeFile } from 'node:fs/promises';
import { findSame, type OpenedArchive } from '#lib/tar/merge/compare.ts';
import { mergedContent } from '#lib/tar/merge/content.ts';
import { type MergePlan, planMerge } from '#lib/tar/merge/plan.ts';
import { verifyMerge } from '#lib/tar/merge/verify.ts';
import { type ArchiveScope, readRootArchive } from '#lib/tar/root-archive.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { rootLimits } from './read.ts';

export const startedSeconds = 1_750_000_000;

export interface MergeResult {
  readonly bytes: Buffer;
  readonly plan: MergePlan;
}

/** Merges two archives, and has the result verified after `damage`. `gone` are paths. */
export async function merge(
  base: Buffer,
  delta: Buffer,
  gone: readonly string[] = [],
  damage: (bytes: Buffer) => Buffer = (bytes) => bytes,
): Promise<MergeResult> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const openArchive = async (name: string, bytes: Buffer, scope: ArchiveScope): Promise<OpenedArchive> => {
    await writeFile(folder.file(name), bytes);
    const handle = opened.use(await open(folder.file(name)));
    const region = { handle, offset: 0, length: bytes.length };
    return { ...(await readRootArchive(region, { ...rootLimits, scope })), region };
  };
  const sources = {
    base: await openArchive('base', base, 'whole'),
    delta: await openArchive('delta', delta, 'changes'),
  };
  const same = await findSame(sources.base, sources.delta, rootLimits.signal);
  const plan = planMerge({ ...sources, same, gone: new Set(gone), startedSeconds });
  const regions = { base: sources.base.region, delta: sources.delta.region };
  const bytes = Buffer.concat(await Array.fromAsync(mergedContent(plan, regions, rootLimits.signal)));
  const result = await openArchive('result', damage(bytes), 'whole');
  await verifyMerge(result, { ...sources, plan }, rootLimits.signal);
  return { bytes, plan };
}
