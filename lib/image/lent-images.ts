import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type IdRange, newUnprivilegedUser, type UnprivilegedUser } from '../privileges.ts';
import { endProcesses } from '../unprivileged.ts';

/**
 * Files that QEMU's image tools get as open descriptors and open once more by these: the tools need no folder to find a
 * file in, and can put nothing in its place.
 */

/** `exec` hands over the first file that it is given as this descriptor. */
const firstDescriptor = 3;

export interface ImageFile {
  readonly path: string;
  /** A file to write to is made where it is missing. */
  readonly writable: boolean;
}

export interface LentImages<Name extends string> extends AsyncDisposable {
  /** The name by which a process that has inherited the descriptors can open each file. */
  readonly names: Readonly<Record<Name, string>>;
  readonly descriptors: readonly number[];
}

/**
 * Opens the files and lets `user` open them too: their group becomes that user's, their owner stays. To be read, files
 * that everybody may read stay untouched, such as base images in the cache, which other builds use at the same time.
 * Disposing takes the files back; by then the user must have no process left.
 */
export async function lendImages<Name extends string>(
  files: Readonly<Record<Name, ImageFile>>,
  user: UnprivilegedUser | null,
): Promise<LentImages<Name>> {
  await using opened = new AsyncDisposableStack();
  const descriptors: number[] = [];
  const names = new Map<string, string>();
  for (const [name, { path, writable }] of Object.entries<ImageFile>(files)) {
    const flags = writable ? constants.O_RDWR | constants.O_CREAT : constants.O_RDONLY;
    const file = opened.use(await open(path, flags | constants.O_NOFOLLOW, 0o600));
    if (user !== null) opened.defer(await lend(file, user, writable));
    names.set(name, `/proc/self/fd/${firstDescriptor + descriptors.push(file.fd) - 1}`);
  }
  const kept = opened.move();
  return {
    names: Object.fromEntries(names) as Record<Name, string>,
    descriptors,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Files that only one use of a program may open, and its user: null for this process's own. */
export interface PrivatelyLentImages<Name extends string> extends LentImages<Name> {
  readonly user: UnprivilegedUser | null;
}

/**
 * Lends the files to a new user out of `ids`, where this process is root. Disposing kills the rest of that user's
 * processes, and takes the files back then.
 */
export async function lendToNewUser<Name extends string>(
  files: Readonly<Record<Name, ImageFile>>,
  ids: IdRange,
): Promise<PrivatelyLentImages<Name>> {
  const user = newUnprivilegedUser(ids);
  const lent = await lendImages(files, user);
  return {
    ...{ user, names: lent.names, descriptors: lent.descriptors },
    async [Symbol.asyncDispose]() {
      await using _ = lent;
      await endProcesses(user);
    },
  };
}

/** Resolves with the function that takes the file back. */
async function lend(file: FileHandle, user: UnprivilegedUser, writable: boolean): Promise<() => Promise<void>> {
  const { uid, gid, mode } = await file.stat();
  if (!writable && (mode & 0o004) !== 0) return async () => {};
  const permissions = mode & 0o777;
  await file.chown(uid, user.id);
  await file.chmod((permissions & 0o707) | (writable ? 0o060 : 0o040));
  return async () => {
    await file.chmod(permissions);
    await file.chown(uid, gid);
  };
}
