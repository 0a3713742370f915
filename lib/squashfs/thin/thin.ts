import type { FileHandle } from 'node:fs/promises';
import { endBytes, padded } from '../../tar/header.ts';
import { parentOf } from '../../tar/names.ts';
import { corrupt } from '../../tar/refusals.ts';
import { readPieces } from '../../tar/region.ts';
import { writeAll } from '../../write-all.ts';
import { tooLarge } from '../refusals.ts';
import type { Region } from '../region.ts';
import type { ToolLimits } from '../xz.ts';
import { type Candidate, findDifferent, overlayMarkOf, sameInode } from './compare.ts';
import { type Member, readMembers } from './member.ts';
import { renderHeaders } from './render.ts';
import type { LayerView } from './view.ts';

export interface ThinLimits extends ToolLimits {
  readonly maximumEntries: number;
}

export interface Thinned {
  /** Entries of the archive, and how many of them the result has. */
  readonly entries: number;
  readonly kept: number;
  readonly sizeBytes: number;
}

/**
 * Copies those entries of the archive of an upper directory that show something else than `view`: the layers that it is to
 * be laid over, which may hold more than those that it was made over. Times alone do not count. The result is an archive for mksquashfs; directories
 * above kept entries stay, and marks of overlayfs that layers do not need go. Throws as `readMembers` does,
 * `image.too_large`, or `disk.full`.
 */
export async function thinArchive(
  archive: Region,
  view: LayerView,
  output: FileHandle,
  limits: ThinLimits,
): Promise<Thinned> {
  const plan = await planThinning(archive, view, limits);
  let index = 0;
  let sizeBytes = 0;
  const put = async (bytes: Buffer) => {
    await writeAll(output, bytes, sizeBytes);
    sizeBytes += bytes.length;
  };
  for await (const member of readMembers(archive, limits.signal)) {
    if (plan.kept.has(index)) {
      await put(renderHeaders(member, plan.hides(member.path)));
      const contentEnd = member.contentAt + padded(member.sizeBytes);
      for await (const bytes of readPieces(archive, member.contentAt, contentEnd, limits.signal)) await put(bytes);
    }
    index += 1;
  }
  await put(Buffer.alloc(endBytes));
  return { entries: plan.entries, kept: plan.kept.size, sizeBytes };
}

/** Everything that is known of the entries after their headers have been read. */
interface Survey {
  readonly paths: Map<string, number>;
  /** Numbers of entries that differ for sure. */
  readonly kept: Set<number>;
  readonly candidates: Candidate[];
  /** Numbers of hard links, with those of the entries that they are links to. */
  readonly links: [number, number][];
  /** Directories that hide everything below. */
  readonly opaque: Set<string>;
  readonly hides: (path: string) => boolean;
}

/**
 * Overlayfs marks every directory that it makes, so that nothing below shows in it. The mark is needless where the view
 * has nothing there but names that the archive has too; without it, these can be compared with each other. Resolves with
 * the numbers of all paths, and whether a directory has a mark that it needs.
 */
async function outline(archive: Region, view: LayerView, limits: ThinLimits): Promise<Pick<Survey, 'paths' | 'hides'>> {
  const paths = new Map<string, number>();
  /** Directories that hide, with the uppermost that each is in. */
  const hiding = new Map<string, string>();
  for await (const member of readMembers(archive, limits.signal)) {
    const { path } = member;
    const index = paths.size;
    if (index === limits.maximumEntries) throw tooLarge(`its change has more than ${index} entries`);
    if (paths.has(path)) throw corrupt(`${JSON.stringify(path)} is there twice`);
    paths.set(path, index);
    if (member.type !== 'directory' || path === '') continue;
    const top = hiding.get(parentOf(path));
    if (top !== undefined || overlayMarkOf(member, 'opaque') === 'y') hiding.set(path, top ?? path);
  }
  const needed = new Set<string>();
  for (const [path, top] of hiding) {
    const isDirectory = view.find(path)?.inode.type === 'directory';
    const isCovered = isDirectory ? view.names(path).every((name) => paths.has(`${path}/${name}`)) : path !== top;
    if (!isCovered) needed.add(top);
  }
  return {
    paths,
    hides(path) {
      const top = hiding.get(path);
      return top !== undefined && needed.has(top);
    },
  };
}

async function planThinning(archive: Region, view: LayerView, limits: ThinLimits) {
  const outlined = await outline(archive, view, limits);
  const survey: Survey = { ...outlined, kept: new Set(), candidates: [], links: [], opaque: new Set() };
  let number = 0;
  for await (const member of readMembers(archive, limits.signal)) {
    look(survey, view, member, number);
    number += 1;
  }
  const { kept, paths, hides } = survey;
  for (const index of await findDifferent(archive, survey.candidates, limits)) kept.add(index);
  keepLinks(survey);
  const names = [...paths.keys()];
  for (const index of [...kept]) {
    for (let path = parentOf(names[index] ?? ''); path !== ''; path = parentOf(path)) {
      const parent = paths.get(path);
      if (parent === undefined || kept.has(parent)) break;
      kept.add(parent);
    }
  }
  return { kept, hides, entries: paths.size };
}

function look(survey: Survey, view: LayerView, member: Member, index: number): void {
  const { path } = member;
  if (path === '') return;
  const isMarked = member.type === 'directory' && overlayMarkOf(member, 'opaque') === 'y' && survey.hides(path);
  const isNew = survey.opaque.has(parentOf(path));
  if (member.type === 'directory' && (isNew || isMarked)) survey.opaque.add(path);
  const shown = view.find(path);
  if (member.type === 'link') {
    const target = survey.paths.get(member.target);
    if (target === undefined || target >= index) throw corrupt(`${JSON.stringify(path)} is a link to nothing`);
    survey.links.push([index, target]);
    const other = view.find(member.target);
    const isSame = shown !== null && shown.layer === other?.layer && shown.inode.number === other.inode.number;
    if (isNew || !isSame) survey.kept.add(index);
    return;
  }
  const isWhiteout = member.type === 'character' && member.major === 0 && member.minor === 0;
  if (isWhiteout && shown === null) return;
  if (isNew || isMarked || isWhiteout || shown === null || !sameInode(member, shown)) {
    survey.kept.add(index);
    return;
  }
  if (shown.inode.type !== 'file') return;
  survey.candidates.push({ index, contentAt: member.contentAt, layer: shown.layer, file: shown.inode });
}

/** One name of a file that is kept keeps all of them. */
function keepLinks({ kept, links }: Survey): void {
  const groups = new Map<number, number[]>();
  for (const [index, target] of links) {
    const group = groups.get(target);
    if (group === undefined) groups.set(target, [target, index]);
    else group.push(index);
  }
  for (const group of groups.values()) {
    if (group.some((index) => kept.has(index))) for (const index of group) kept.add(index);
  }
}
