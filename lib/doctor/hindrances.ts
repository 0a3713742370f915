import { stat } from 'node:fs/promises';
import type { FolderSettings } from '../config/folders.ts';
import type { LimitSettings } from '../config/limits.ts';
import { ImageBuilderError } from '../errors.ts';
import { type Finding, withinLimit } from './finding.ts';
import { type Folder, folderFinding, foldersOf, lackOf, lookAtFolder, ownershipFinding } from './folders.ts';

/** The look at the folders of builds that the doctor, a worker and `imagebuilder serve` share. */

/** One folder after a look at it. */
export interface LookedFolder {
  readonly findings: readonly Finding[];
  /** The folder is there, and can be written. */
  readonly writable: boolean;
  /** The existing folder that was looked at, and what it lacks for builds to begin; null where there was no answer. */
  readonly lack: { readonly existing: string; readonly bytes: number } | null;
}

export interface HindranceOptions {
  /** Whether finished images go to the file store. */
  readonly fileStore: boolean;
  /** Removes what dead workers left in the work folder. */
  readonly sweep: () => Promise<void>;
  /** Drops so many bytes from the caches, as far as no build uses them; returns how many. */
  readonly makeRoom: (bytes: number) => Promise<number>;
}

const limitMs = 10_000;

/** Looks at one folder and judges it for this user. Never throws; a file system that hangs is a finding. */
export async function lookAndJudge(folder: Folder): Promise<LookedFolder> {
  const looked = await withinLimit(limitMs, (signal) => lookAtFolder(folder.path, signal));
  if (!('found' in looked)) {
    const detail = `${folder.path} cannot be looked at: ${looked.failure}`;
    return { findings: [{ what: `${folder.name} folder`, ok: false, detail }], writable: false, lack: null };
  }
  const { found } = looked;
  const finding = folderFinding(folder, found, process.getuid?.() ?? 0);
  // The file system has just answered, so this does not hang either.
  const ownership = finding.ok ? await ownershipFinding(folder) : null;
  return {
    findings: ownership === null ? [finding] : [finding, ownership],
    writable: found.existing === folder.path && found.refusal === null,
    lack: { existing: found.existing, bytes: lackOf(folder, found) },
  };
}

/**
 * The findings that keep builds from running in these folders; none where they can. Neither caches nor leftovers of dead
 * workers are hindrances: where they fill the disk, they make room first, as they do for a build. Never throws.
 */
export async function findHindrances(
  settings: FolderSettings & Pick<LimitSettings, 'diskReserveBytes'>,
  { fileStore, sweep, makeRoom }: HindranceOptions,
): Promise<Finding[]> {
  const folders = foldersOf(settings, { fileStore });
  const look = async () => await Promise.all(folders.map(lookAndJudge));
  let looked = await look();
  if (looked.some(({ lack }) => lack !== null && lack.bytes > 0)) {
    await sweep().catch(() => {});
    looked = await look();
  }
  const lack = await lackBesideCache(looked, settings.cacheDirectory);
  if (lack > 0 && (await makeRoom(lack).catch(() => 0)) > 0) looked = await look();
  return looked.flatMap(({ findings }) => findings.filter(({ ok }) => !ok));
}

/** The most bytes that a folder lacks on the file system of the caches; 0 where these are not there yet. */
async function lackBesideCache(looked: readonly LookedFolder[], cacheDirectory: string): Promise<number> {
  if (!looked.some(({ lack }) => lack?.existing === cacheDirectory)) return 0;
  const deviceOf = async (path: string) => (await stat(path).catch(() => null))?.dev ?? null;
  const device = await deviceOf(cacheDirectory);
  const lacks = looked.map(async ({ lack }) => {
    const isBeside = lack !== null && lack.bytes > 0 && (await deviceOf(lack.existing)) === device;
    return isBeside ? lack.bytes : 0;
  });
  return Math.max(...(await Promise.all(lacks)));
}

/** The hindrances in the doctor's words, each with its advice. */
export function adviceOf(hindrances: readonly Finding[]): string {
  return hindrances.map((finding) => `${finding.what}: ${remarkOf(finding)}`).join('; ');
}

/** The error of a worker, or of a command, that cannot begin because of hindrances. */
export function cannotBuild(hindrances: readonly Finding[]): ImageBuilderError {
  const faults = hindrances.map((finding) => ({ path: `${finding.what}:`, message: remarkOf(finding) }));
  return new ImageBuilderError('config.invalid', `no build can run here: ${adviceOf(hindrances)}`, { faults });
}

function remarkOf({ detail, todo }: Finding): string {
  return todo === undefined ? detail : `${detail}. To do: ${todo}`;
}
