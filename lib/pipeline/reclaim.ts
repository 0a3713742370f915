import type { FolderSettings } from '../config/folders.ts';
import { isInContainer } from '../folders/container.ts';
import { inspectPrivateFolder } from '../folders/private-folder.ts';
import { foldersOfBuilds } from '../folders/settings.ts';
import { sweepGuest } from '../guest/sweep.ts';
import type { Log } from '../log.ts';
import { makeRoomInCaches } from './make-room.ts';
import { sweepWorkDirectories } from './work-directory.ts';

/** The ways in which a worker gets room back that nobody uses. */
export interface Reclaim {
  /** Removes what dead workers left in the work folder. */
  sweep(): Promise<void>;
  /** Drops so many bytes from the caches, as far as no build uses them; returns how many. */
  makeRoom(bytes: number): Promise<number>;
}

export function reclaimIn(folders: FolderSettings, log: Log): Reclaim {
  const { workDirectory, cacheDirectory } = folders;
  return {
    async sweep() {
      const work = foldersOfBuilds(folders, { fileStore: false }).find(({ name }) => name === 'work');
      const faults = work === undefined ? [] : (await inspectPrivateFolder(work)).faults;
      // Where another user can exchange folders, nothing is removed. A container has no other users.
      if (faults.length > 0 && !isInContainer()) return;
      await sweepWorkDirectories(workDirectory, { beforeRemoval: (path) => sweepGuest(path, { log }), log });
    },
    makeRoom: (bytes) => makeRoomInCaches(cacheDirectory, bytes),
  };
}
