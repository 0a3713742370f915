import { ImageBuilderError } from '../../errors.ts';
import { shown } from '../refusals.ts';
import type { RootEntry } from '../root-entry.ts';
import { type OpenedArchive, place, sameBytes, sameProperties } from './compare.ts';
import { findHardLinks, type HardLinks, sameNames } from './hard-links.ts';
import type { MergePlan } from './plan.ts';

export interface Merged {
  readonly base: OpenedArchive;
  readonly delta: OpenedArchive;
  readonly plan: Pick<MergePlan, 'replaced' | 'removed' | 'added' | 'latestSeconds'>;
}

/** A member that should not have changed, in both archives. */
interface Kept {
  readonly path: string;
  readonly before: RootEntry;
  readonly after: RootEntry;
}

/**
 * Compares a new archive, which has been read anew, with those that it is made of: members that should not have changed
 * are the same byte by byte and in the same order, all others are those of the delta. Throws `image.output` for the first
 * difference, or the reason of the signal.
 */
export async function verifyMerge(result: OpenedArchive, merged: Merged, signal: AbortSignal): Promise<void> {
  const { base, delta, plan } = merged;
  if (result.prefix !== base.prefix) throw differs('', 'has another prefix');
  await verifyAbove();
  const links = { result: findHardLinks(result.entries), delta: findHardLinks(delta.entries) };
  const kept = base.entries.keys().filter((path) => !plan.removed.has(path));
  let run: Kept[] = [];
  for (const [path, entry] of result.entries) {
    if (plan.added.has(path)) {
      await verifyChanged(path, entry);
      continue;
    }
    if (kept.next().value !== path) throw differs(path, 'is not where it should be');
    if (plan.replaced.has(path)) await verifyChanged(path, entry);
    else await verifyKept(path, entry);
  }
  await verifyRun();
  if (kept.next().done !== true) throw differs('', 'lacks a member of the base');
  if (result.entries.size !== base.entries.size - plan.removed.size + plan.added.size) {
    throw differs('', 'lacks a new member');
  }

  async function verifyAbove(): Promise<void> {
    const [before, after] = [base.above, result.above];
    if (before === null && after === null) return;
    if (before === null || after === null) throw differs('', 'has another member above its root file system');
    await verifySame('', before, after);
  }

  /** Neighbours in both archives are compared together: one by one, their reading would take most of the time. */
  async function verifyKept(path: string, after: RootEntry): Promise<void> {
    const before = base.entries.get(path);
    if (before === undefined) throw differs(path, 'is in neither');
    const last = run.at(-1);
    const isNext = last?.before.endAt === before.startAt && last.after.endAt === after.startAt;
    if (!isNext) await verifyRun();
    run.push({ path, before, after });
  }

  async function verifyRun(): Promise<void> {
    const [members, first, last] = [run, run[0], run.at(-1)];
    run = [];
    if (first === undefined || last === undefined) return;
    const places = [
      { region: base.region, start: first.before.startAt, end: last.before.endAt },
      { region: result.region, start: first.after.startAt, end: last.after.endAt },
    ] as const;
    if (await sameBytes(...places, signal)) return;
    for (const { path, before, after } of members) await verifySame(path, before, after);
    throw differs(first.path, 'has changed');
  }

  async function verifySame(path: string, before: RootEntry, after: RootEntry): Promise<void> {
    const whole = ({ region }: OpenedArchive, { startAt, endAt }: RootEntry) => ({
      region,
      start: startAt,
      end: endAt,
    });
    if (!(await sameBytes(whole(base, before), whole(result, after), signal))) throw differs(path, 'has changed');
  }

  async function verifyChanged(path: string, entry: RootEntry): Promise<void> {
    const [ours, theirs] = [links.result.get(path), links.delta.get(path)];
    const wanted = theirs?.file ?? delta.entries.get(path);
    const file = ours?.file ?? entry;
    if (wanted === undefined) throw differs(path, 'is in neither');
    if (!sameProperties(expected(wanted), file)) throw differs(path, 'is another file');
    if (!sameLinks(ours, theirs)) throw differs(path, 'has other hard links');
    if (entry.type !== 'file') return;
    if (!(await sameBytes(place(delta, wanted), place(result, file), signal)))
      throw differs(path, 'has another content');
  }

  function expected(wanted: RootEntry): RootEntry {
    return base.form === 'gnu' ? { ...wanted, attributes: new Map() } : wanted;
  }

  function sameLinks(ours: HardLinks | undefined, theirs: HardLinks | undefined): boolean {
    if (ours === undefined || theirs === undefined) return ours === theirs;
    return sameNames(ours, theirs);
  }
}

function differs(path: string, how: string): ImageBuilderError {
  const what = path === '' ? 'the new archive' : `${shown(path)} of the new archive`;
  return new ImageBuilderError('image.output', `${what} ${how}`);
}
