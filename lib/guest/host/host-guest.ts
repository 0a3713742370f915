import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../log.ts';
import type { Guest, GuestDisk, GuestOptions, GuestSession } from '../guest.ts';
import { attach } from './attach.ts';
import { createHostSession } from './host-session.ts';
import { startSupervisor } from './supervision.ts';
import { guestDirectory } from './sweep.ts';

/**
 * The guest for whoever is root on this machine: the overlay as a FUSE file, loop devices on it, mounts and chroot in
 * private mount, process, IPC and UTS namespaces. A chroot does not contain root, and this machine's kernel reads the
 * image's file systems: for trusted images and PPAs.
 */
export function createHostGuest(options: { readonly log: Log }): Guest {
  return {
    kind: 'host',
    open: async (disk, guestOptions) => await open(disk, guestOptions, options.log.with({ build_id: disk.buildId })),
  };
}

async function open(disk: GuestDisk, options: GuestOptions, log: Log): Promise<GuestSession> {
  const directory = guestDirectory(disk.workDirectory);
  const exportPath = join(directory, 'disk.raw');
  await mkdir(directory);
  for (const name of ['dev', 'jobs', 'root', 'stage']) await mkdir(join(directory, name));
  await writeFile(exportPath, '');
  const remove = async () => await rm(directory, { recursive: true, force: true });
  try {
    const supervision = await startSupervisor({ overlayPath: disk.overlayPath, exportPath }, directory, options.signal);
    const cancel = () => void supervision.stop();
    options.signal.addEventListener('abort', cancel);
    const end = async () => {
      options.signal.removeEventListener('abort', cancel);
      await supervision.stop();
      await remove();
    };
    try {
      const { partitions } = disk;
      const { binds, onNotice } = options;
      const attachment = await attach(supervision, { directory, exportPath, partitions, binds, onNotice });
      const session = createHostSession({ supervision, attachment, directory, disk, log, end, signal: options.signal });
      await session.borrow(options.resolvConf);
      return session;
    } catch (error) {
      await end();
      options.signal.throwIfAborted();
      supervision.lost.throwIfAborted();
      throw error;
    }
  } catch (error) {
    await remove();
    throw error;
  }
}
