import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { messageOf } from '../../errors.ts';

/** A raw copy of a disk, written cluster by cluster, in which zeros are holes. */
export interface ContentCopy {
  /** Writes a cluster to its place. Once that has failed, nothing is written any more, and the file takes no room. */
  write(cluster: Buffer, diskOffset: number): void;
  /** Resolves when all of it is on the disk: with null, or the reason why there is no copy. */
  finish(): Promise<string | null>;
}

const startSync = promisify(fdatasync);
/** After so many bytes, those written so far go to the disk, so that little is left to wait for at the end. */
const syncBytes = 64 * 1024 * 1024;

/**
 * Opens the copy of a disk of so many bytes at `path`, which does not exist. Writes in this thread. The copy is given up where
 * another process removes the file.
 */
export function openContentCopy(path: string, virtualSizeBytes: number): ContentCopy {
  let descriptor: number | null = null;
  let obstacle: string | null = null;
  let zeros = Buffer.alloc(0);
  let unsyncedBytes = 0;
  let syncing: Promise<void> | null = null;
  const giveUp = (error: unknown) => {
    obstacle ??= messageOf(error);
    // A full disk needs the room at once, not only when the file is removed.
    if (descriptor !== null) ftruncateSync(descriptor, 0);
  };
  const attempt = (work: () => void) => {
    try {
      work();
    } catch (error) {
      giveUp(error);
    }
  };
  attempt(() => {
    descriptor = openSync(path, 'wx', 0o600);
    ftruncateSync(descriptor, virtualSizeBytes);
  });

  function sync(file: number): void {
    unsyncedBytes = 0;
    if (fstatSync(file).nlink === 0) giveUp(new Error('its room was needed'));
    else {
      syncing ??= startSync(file)
        .catch(giveUp)
        .finally(() => {
          syncing = null;
        });
    }
  }

  return {
    write(cluster, diskOffset) {
      const file = descriptor;
      if (file === null || obstacle !== null) return;
      if (zeros.length !== cluster.length) zeros = Buffer.alloc(cluster.length);
      if (cluster.equals(zeros)) return;
      attempt(() => {
        const length = Math.min(cluster.length, virtualSizeBytes - diskOffset);
        for (let done = 0; done < length; ) done += writeSync(file, cluster, done, length - done, diskOffset + done);
      });
      unsyncedBytes += cluster.length;
      if (unsyncedBytes >= syncBytes) sync(file);
    },
    async finish() {
      if (descriptor === null) return obstacle;
      await syncing;
      if (obstacle === null) sync(descriptor);
      await syncing;
      closeSync(descriptor);
      return obstacle;
    },
  };
}
