import { chmod, copyFile, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { UnprivilegedUser } from '../../privileges.ts';

/**
 * Files that QEMU gets as open descriptors, so that its user needs neither access to their paths nor the right to open
 * them.
 */
export interface HandedFile {
  readonly path: string;
  readonly writable: boolean;
  /**
   * `disk`: a block node takes the descriptor. `reopened`: QEMU opens the file once more by its descriptor, for which
   * QEMU's user has to be able to read it. `inherited`: QEMU goes by the descriptor's number.
   */
  readonly use: 'disk' | 'reopened' | 'inherited';
}

/**
 * Collects the files while the arguments of QEMU are put together; `firstDescriptor` is the number of the first one.
 */
export function handOver(firstDescriptor: number) {
  const files: HandedFile[] = [];
  const add = (file: HandedFile): number => firstDescriptor + files.push(file) - 1;
  return {
    files: files as readonly HandedFile[],
    /** Names the file of a block node: QEMU takes the descriptor itself, with the rights that it was opened with. */
    disk: (path: string, { writable }: { readonly writable: boolean }): string =>
      `/dev/fdset/${add({ path, writable, use: 'disk' })}`,
    /** Names any other file. */
    plain: (path: string): string => `/proc/self/fd/${add({ path, writable: false, use: 'reopened' })}`,
    /** The number of the descriptor. */
    inherited: (path: string): number => add({ path, writable: false, use: 'inherited' }),
    /** The arguments that name the descriptors of disks to QEMU. */
    arguments: (): string[] =>
      files.flatMap(({ use }, index) => {
        const descriptor = firstDescriptor + index;
        return use !== 'disk' ? [] : ['-add-fd', `fd=${descriptor},set=${descriptor}`];
      }),
  };
}

export interface OpenedFiles extends AsyncDisposable {
  /** In the order of the files. */
  readonly descriptors: readonly number[];
}

/** Opens the files. Disposing closes them, without effect on a process that has inherited them. */
export async function openFiles(
  files: readonly HandedFile[],
  { user, directory }: { readonly user: UnprivilegedUser | null; readonly directory: string },
): Promise<OpenedFiles> {
  await using opened = new AsyncDisposableStack();
  const descriptors: number[] = [];
  for (const [index, { path, writable, use }] of files.entries()) {
    let file = opened.use(await open(path, writable ? 'r+' : 'r'));
    if (use === 'reopened' && user !== null && !(await isReadableByAll(file))) {
      const copy = join(directory, `copy-${index}`);
      await copyFile(path, copy);
      await chmod(copy, 0o444);
      file = opened.use(await open(copy, 'r'));
    }
    descriptors.push(file.fd);
  }
  const kept = opened.move();
  return { descriptors, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Whether every user may read the file. Only root may read Ubuntu's kernels, for one. */
async function isReadableByAll(file: FileHandle): Promise<boolean> {
  return ((await file.stat()).mode & 0o004) !== 0;
}
