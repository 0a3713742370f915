import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import { exec } from '#lib/exec.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { type DiskSpace, type DiskSpaceOptions, openDiskSpace } from '#lib/limits/disk-space.ts';
import { createLog } from '#lib/log.ts';
import { makeRoomInCaches } from '#lib/pipeline/make-room.ts';
import { openWorkDirectory } from '#lib/pipeline/work-directory.ts';

/** Builds on file systems that are really small. */

export const MiB = 2 ** 20;

export interface SmallDisks {
  /** A folder beside the file systems. */
  readonly directory: () => string;
  /** An empty file system of this size, with the folders of a worker. Returns its path. */
  fileSystem(sizeMiB: number): Promise<string>;
}

/** Makes file systems for the tests of a file, and removes them after these. */
export function smallDisks(): SmallDisks {
  let directory = '';
  const mounts: string[] = [];
  test.before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'imagebuilder-space-'));
  });
  test.after(async () => {
    for (const path of mounts) await exec('umount', [path]);
    await rm(directory, { recursive: true, force: true });
  });
  return {
    directory: () => directory,
    async fileSystem(sizeMiB) {
      const path = join(directory, `disk-${mounts.length}`);
      await mkdir(path);
      await exec('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}M`, 'tmpfs', path]);
      mounts.push(path);
      for (const name of ['work', 'cache', 'store']) await mkdir(join(path, name));
      return path;
    },
  };
}

export interface Build extends AsyncDisposable {
  readonly space: DiskSpace;
  readonly workDirectory: string;
  readonly notices: string[];
}

export async function startBuild(
  disk: string,
  reserveMiB: number,
  changes: Partial<DiskSpaceOptions> = {},
): Promise<Build> {
  await using opened = new AsyncDisposableStack();
  const work = opened.use(await openWorkDirectory(join(disk, 'work'), 'build'));
  const notices: string[] = [];
  const cache = join(disk, 'cache');
  const space = opened.use(
    await openDiskSpace({
      planSpace: imageKinds.cloud.planSpace,
      folders: { work: join(disk, 'work'), cache, store: join(disk, 'store') },
      workDirectory: work.path,
      scratchBytes: 0,
      reserveBytes: reserveMiB * MiB,
      makeRoom: (bytes) => makeRoomInCaches(cache, bytes),
      onNotice: (message) => notices.push(message),
      signal: new AbortController().signal,
      log: createLog({ level: 'error' }),
      ...changes,
    }),
  );
  const kept = opened.move();
  return { space, workDirectory: work.path, notices, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

export const work = (sizeMiB: number) => ({ work: sizeMiB * MiB, cache: 0, store: 0 });

export async function write(path: string, sizeMiB: number): Promise<void> {
  await writeFile(path, Buffer.alloc(sizeMiB * MiB));
}

export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await isSo()); await sleep(20)) {
    if (Date.now() > end) throw new Error('waited 30 seconds in vain');
  }
}
