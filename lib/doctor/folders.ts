import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FolderSettings } from '../config/folders.ts';
import type { LimitSettings } from '../config/limits.ts';
import { saysNoSpace } from '../errors.ts';
import { exec } from '../exec.ts';
import { isInContainer } from '../folders/container.ts';
import { type FolderInspection, octal } from '../folders/inspect.ts';
import { inspectPrivateFolder, problemOf, remedyOf } from '../folders/private-folder.ts';
import { type FolderOfBuilds, foldersOfBuilds } from '../folders/settings.ts';
import { formatBytes, lineAfter } from '../text.ts';
import type { Finding } from './finding.ts';

/**
 * Looks at the folders that builds use: whether they can be written, how much room they have, and who else may change
 * them.
 */

export interface FolderState {
  /** The folder itself, or the nearest one above it that exists. */
  readonly existing: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** The reason why nothing can be written there; null where it can. */
  readonly refusal: string | null;
}

/** Refusals in the words of the script. */
const noFolder = 'it is no folder';
const brokenLink = 'it is a link to nothing';

const script = readFileSync(join(import.meta.dirname, 'scripts/folder.sh'), 'utf8');

/** Looks at a folder and writes a file there for a moment. In processes of its own: a file system may hang. */
export async function lookAtFolder(path: string, signal: AbortSignal): Promise<FolderState> {
  const { stdout } = await exec('sh', ['-c', script, 'folder', path], { signal });
  const line = (key: string) => lineAfter(stdout, `${key} `) ?? '';
  const product = (key: string) =>
    line(key)
      .split(' ')
      .map(Number)
      .reduce((one, other) => one * other, 1);
  const writable = line('writable');
  return {
    existing: line('existing'),
    freeBytes: product('free'),
    totalBytes: product('total'),
    refusal: writable === 'yes' ? null : (writable.split(': ').at(-1) ?? ''),
  };
}

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;

/** Room for an image or two of the common sizes, and their changes. */
const roomBytes = 3 * GiB;

export interface Folder extends FolderOfBuilds {
  /** Builds do not begin with less than this free. */
  readonly leastFreeBytes: number;
  /** With less than this free, builds of large images fail. */
  readonly enoughBytes: number;
  /** The size that a cache may grow to. */
  readonly keptBytes?: number;
}

/** The folders that builds write to; that of the file store where images go there. */
export function foldersOf(
  settings: FolderSettings & Pick<LimitSettings, 'diskReserveBytes'>,
  options: { readonly fileStore: boolean },
): Folder[] {
  const { diskReserveBytes, imageCacheBytes, aptCacheBytes, finishedCacheBytes, layersCacheBytes } = settings;
  const room = { leastFreeBytes: diskReserveBytes, enoughBytes: diskReserveBytes + roomBytes };
  const needs = {
    work: room,
    cache: { ...room, keptBytes: imageCacheBytes + aptCacheBytes + finishedCacheBytes + layersCacheBytes },
    store: room,
    temporary: { leastFreeBytes: 16 * MiB, enoughBytes: 0 },
  };
  return foldersOfBuilds(settings, options).map((folder) => ({ ...folder, ...needs[folder.name] }));
}

/**
 * Finding about other users who may change the folder, in the words with which a worker refuses it; null where there
 * are none.
 */
export async function ownershipFinding(folder: Folder, container: boolean = isInContainer()): Promise<Finding | null> {
  const state = await inspectPrivateFolder(folder);
  const [fault] = state.faults;
  const what = `${folder.name} folder`;
  if (fault !== undefined) {
    const detail = problemOf(folder, fault);
    return container ? { what, ok: true, detail } : { what, ok: false, detail, todo: remedyOf(folder, fault) };
  }
  return wideFinding(folder, state, what);
}

/** A folder of an earlier version, which the next worker closes. */
function wideFinding({ path, mode }: Folder, state: FolderInspection, what: string): Finding | null {
  if (mode === 'shared' || state.mode === null || (state.mode & ~mode & 0o777) === 0) return null;
  const detail = `${path} is open to other users (mode ${octal(state.mode)}) until a worker starts`;
  return { what, ok: true, detail, todo: `chmod ${octal(mode)} ${path}` };
}

/** Bytes that the folder lacks for builds to begin. Where it cannot be written anyway, room would not help. */
export function lackOf({ leastFreeBytes }: Folder, { freeBytes, refusal }: FolderState): number {
  return refusal === null || saysNoSpace(refusal) ? Math.max(0, leastFreeBytes - freeBytes) : 0;
}

/** The other way out than another folder; nothing where one would have to remove what is no folder. */
function remedyOfRefusal({ existing, refusal }: FolderState, path: string, userId: number): string {
  if (refusal === noFolder) return '';
  if (refusal === brokenLink) return `mend the link ${existing}, or `;
  return existing === path ? `let user ${userId} write to ${path}, or ` : `make ${path} for user ${userId}, or `;
}

/** Judges the state of a folder for builds of this user. */
export function folderFinding(folder: Folder, state: FolderState, userId: number): Finding {
  const { name, path, variable, mode, leastFreeBytes, enoughBytes, keptBytes } = folder;
  const what = `${name} folder`;
  const { existing, freeBytes, totalBytes, refusal } = state;
  const where = existing === path ? path : `${path} (to be made in ${existing})`;
  const room = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`;
  if (lackOf(folder, state) > 0) {
    const todo = `make room in ${existing}, or set ${variable} to a folder with more`;
    const detail = `${where}: ${room}, and builds need ${formatBytes(leastFreeBytes)} to begin`;
    return { what, ok: false, detail, todo };
  }
  if (refusal !== null) {
    const todo = `${remedyOfRefusal(state, path, userId)}set ${variable} to a folder that it can write to`;
    return { what, ok: false, detail: `${where} cannot be written: ${refusal}`, todo };
  }
  if (mode === 'shared' && existing !== path) {
    const todo = `make ${path}, or set ${variable} to a folder that is there`;
    return { what, ok: false, detail: `${path} is not there`, todo };
  }
  const finding = { what, ok: true, detail: `${where}: ${room}` };
  if (freeBytes < enoughBytes) {
    return { ...finding, todo: `make room in ${existing}: ${formatBytes(freeBytes)} are little for building images` };
  }
  if (keptBytes !== undefined && keptBytes > totalBytes) {
    const limits =
      'IMAGEBUILDER_IMAGE_CACHE_SIZE, IMAGEBUILDER_APT_CACHE_SIZE, IMAGEBUILDER_FINISHED_CACHE_SIZE and IMAGEBUILDER_LAYERS_CACHE_SIZE';
    return {
      ...finding,
      todo: `lower ${limits}: together they allow ${formatBytes(keptBytes)}, more than ${existing} holds`,
    };
  }
  return finding;
}
