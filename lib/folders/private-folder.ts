import { chmod, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ImageBuilderError, isNodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { isInContainer } from './container.ts';
import { type FolderFault, type FolderInspection, inspectFolder, octal } from './inspect.ts';
import { readTrust } from './trust.ts';

/** A folder that a setting names, in which no other user may change anything. */
export interface PrivateFolder {
  readonly path: string;
  /** The variable that names it. */
  readonly variable: string;
  /** Its permission bits; `shared` for a folder such as /tmp, which is only inspected. */
  readonly mode: number | 'shared';
}

export interface PrivateFolderOptions {
  readonly log: Log;
  /**
   * Default: looked up. In a container faults are only logged: it has no other users, and the folder that Kubernetes
   * mounts at /tmp can be written by everybody.
   */
  readonly container?: boolean;
}

/**
 * Makes the folder where it is missing, and closes it to other users where an earlier version has left it open. Throws
 * `config.invalid` where another user could take it, or could have put something into it.
 */
export async function openPrivateFolder(folder: PrivateFolder, options: PrivateFolderOptions): Promise<void> {
  const { path, mode } = folder;
  let state = await requirePrivateFolder(folder, options);
  if (mode === 'shared') return;
  if (state.mode === null) {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await mkdir(path, { mode }).catch((error: unknown) => {
      if (!isNodeError(error) || error.code !== 'EEXIST') throw error;
    });
    // Where everybody may make folders, as in /tmp, another user may have been faster.
    state = await requirePrivateFolder(folder, options);
  }
  if (state.mode === null || state.ownerId !== process.geteuid?.() || (state.mode & 0o777) === mode) return;
  // The bits beyond 0777 stay: with them an operator gives new files in the folder to a group.
  await chmod(path, (state.mode & 0o7000) | mode);
  if ((state.mode & ~mode & 0o777) === 0) return;
  if (state.othersMayWrite && (await readdir(path)).length > 0) {
    // Another user has put something into a folder that had been empty.
    await chmod(path, state.mode);
    await requirePrivateFolder(folder, options);
  }
  options.log.info('closed a folder to other users', { path, mode_before: octal(state.mode), mode: octal(mode) });
}

/** Looks at the folder and changes nothing. Throws `config.invalid` like `openPrivateFolder`. */
export async function requirePrivateFolder(
  folder: PrivateFolder,
  { log, container = isInContainer() }: PrivateFolderOptions,
): Promise<FolderInspection> {
  const { path, variable } = folder;
  const state = await inspectPrivateFolder(folder);
  if (container) {
    for (const { problem } of state.faults)
      log.info('a folder cannot be kept safe from other users', { path, problem });
    return state;
  }
  const [first] = state.faults;
  if (first === undefined) return state;
  const faults = state.faults.map(({ problem }) => ({ path: variable, message: problem }));
  const message = `${problemOf(folder, first)}. To do: ${remedyOf(folder, first)}`;
  throw new ImageBuilderError('config.invalid', message, { faults });
}

/** The faults that make `requirePrivateFolder` throw, as data. */
export async function inspectPrivateFolder({ path, mode }: PrivateFolder): Promise<FolderInspection> {
  return await inspectFolder(path, mode, await readTrust());
}

/** The words that errors, logs and the doctor share. */
export function problemOf({ path }: PrivateFolder, { problem }: FolderFault): string {
  return `${path} cannot be kept safe from other users: ${problem}`;
}

export function remedyOf({ variable }: PrivateFolder, { remedy }: FolderFault): string {
  const other = `set ${variable} to a folder that no other user can replace`;
  return remedy === null ? other : `${remedy}, or ${other}`;
}

/** A folder inside a private one: made, and closed, for this user alone. */
export async function makeOwnFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const { mode, uid } = await stat(path);
  if ((mode & 0o077) !== 0 && uid === process.geteuid?.()) await chmod(path, 0o700);
}
