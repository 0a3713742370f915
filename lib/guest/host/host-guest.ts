import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../log.ts';
import type { Guest, GuestDisk, GuestOptions, GuestSession } from '../guest.ts';
import { attach } from './attach.ts';
import { type Cgroup, type GuestLimits, openCgroup } from './cgroup.ts';
import { createHostSession } from './host-session.ts';
import { startSupervisor } from './supervision.ts';
import { guestDirectory } from './sweep.ts';

/**
 * The guest for whoever is root on this machine: the overlay as a FUSE file, loop devices on it, mounts and chroot in
 * private mount, process, IPC and UTS namespaces, in which scripts see nothing but the image. They share the worker's
 * network, and this machine's kernel reads the image's file systems: for trusted images and PPAs.
 */
export function createHostGuest(settings: HostGuestSettings): Guest {
  let told = false;
  return {
    kind: 'host',
    async open(disk, options) {
      const log = settings.log.with({ build_id: disk.buildId });
      return await open(disk, options, {
        log,
        limits: settings.limits,
        onMissing(missing) {
          if (!told) log.warn('what runs inside images is not held to these limits', { missing });
          told = true;
        },
      });
    },
  };
}

export interface HostGuestSettings {
  readonly log: Log;
  /** What scripts inside may take, by a cgroup where one can be had, which the log tells otherwise. */
  readonly limits: GuestLimits;
}

interface OpenSettings extends HostGuestSettings {
  readonly onMissing: (missing: Cgroup['missing']) => void;
}

async function open(disk: GuestDisk, options: GuestOptions, settings: OpenSettings): Promise<GuestSession> {
  const { log, limits } = settings;
  const directory = guestDirectory(disk.workDirectory);
  const exportPath = join(directory, 'disk.raw');
  await mkdir(directory);
  for (const name of ['dev', 'jobs', 'root', 'stage']) await mkdir(join(directory, name));
  await writeFile(exportPath, '');
  const cgroup = await openCgroup(directory, limits);
  if (Object.keys(cgroup.missing).length > 0) settings.onMissing(cgroup.missing);
  const remove = async () => {
    await cgroup[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const supervision = await startSupervisor(
      { overlayPath: disk.overlayPath, exportPath, cgroups: cgroup.folders },
      directory,
      options.signal,
    );
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
      const session = createHostSession({
        ...{ supervision, attachment, directory, disk, log, end, cgroup, limits, signal: options.signal },
      });
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
