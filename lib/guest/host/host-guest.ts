import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runsOn, workerArchitecture } from '../../architecture.ts';
import { onAbort } from '../../async.ts';
import type { Log } from '../../log.ts';
import type { IdRange } from '../../privileges.ts';
import type { Guest, GuestDisk, GuestOptions, GuestPlace, GuestSession, PreparedGuest } from '../guest.ts';
import { guestDirectory } from '../identity.ts';
import { stackOf } from '../stack.ts';
import { attach, attachStack } from './attach.ts';
import { type Cgroup, type GuestLimits, openCgroup } from './cgroup.ts';
import { notEmulated, startEmulation } from './emulation.ts';
import { createHostSession, type HostSessionParts } from './host-session.ts';
import { newFirstId } from './id-map.ts';
import { lendDisk } from './lent-disk.ts';
import { explainLoss } from './loss.ts';
import { proxyPort } from './messages.ts';
import { launchSupervisor, type Supervisor } from './supervision.ts';

/**
 * The guest for a worker that is root on this machine: the overlay as a FUSE file, loop devices on it, mounts in
 * private mount, process, IPC, UTS and network namespaces, and a container for each script, which sees nothing but the
 * image and reaches nothing but the build's proxy. This machine's kernel reads the image's file systems: for trusted
 * images and PPAs.
 */
export function createHostGuest({ log, limits, ids, userNamespace = true }: HostGuestSettings): Guest {
  let told = false;
  const settings: OpenSettings = {
    log,
    limits,
    ids,
    userNamespace,
    onMissing(missing) {
      if (!told) log.warn('what runs inside images is not held to these limits', { missing });
      told = true;
    },
  };
  return {
    kind: 'host',
    scratchBytes: 0,
    prepare: (place, signal) => prepare(place, signal, settings),
    async open(disk, options) {
      const prepared = await prepare(disk, options.signal, settings);
      return await prepared.open(disk, options);
    },
  };
}

export interface HostGuestSettings {
  readonly log: Log;
  /** Limits for scripts inside, held by a cgroup where one can be had; otherwise the log says so. */
  readonly limits: GuestLimits;
  /** The worker's ids for the storage daemon, and for root and users inside, see `id-map.ts`. */
  readonly ids: IdRange;
  /** False where the worker's own root and users are those inside. Default: true. */
  readonly userNamespace?: boolean;
}

interface OpenSettings extends Required<HostGuestSettings> {
  readonly onMissing: (missing: Cgroup['missing']) => void;
}

/** Makes the guest's folder and cgroup, and starts its supervisor. */
async function prepare(place: GuestPlace, signal: AbortSignal, settings: OpenSettings): Promise<PreparedGuest> {
  const { limits, ids, userNamespace } = settings;
  const log = settings.log.with({ build_id: place.buildId });
  signal.throwIfAborted();
  await using undo = new AsyncDisposableStack();
  const directory = guestDirectory(place.workDirectory);
  const exportPath = join(directory, 'disk.raw');
  await mkdir(directory);
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  for (const name of ['containers', 'dev', 'jobs', 'root', 'stage']) await mkdir(join(directory, name));
  await writeFile(exportPath, '');
  const cgroup = undo.use(await openCgroup(directory, limits));
  if (Object.keys(cgroup.missing).length > 0) settings.onMissing(cgroup.missing);
  const lent = undo.use(new AsyncDisposableStack());
  const supervisor = launchSupervisor({ exportPath, cgroups: cgroup.folders }, directory);
  const cancel = () => void supervisor.stop();
  undo.defer(supervisor.stop);
  undo.use(onAbort(signal, cancel));
  const ending = undo.move();
  const end = () => ending.disposeAsync();
  return {
    async open(disk, options) {
      try {
        return await open(
          { directory, exportPath, cgroup, limits, ids, userNamespace, log, lent, supervisor, end },
          disk,
          options,
        );
      } catch (error) {
        await end();
        options.signal.throwIfAborted();
        throw error;
      }
    },
    [Symbol.asyncDispose]: end,
  };
}

interface Begun extends Pick<HostSessionParts, 'directory' | 'exportPath' | 'cgroup' | 'limits' | 'log' | 'end'> {
  readonly ids: IdRange;
  readonly userNamespace: boolean;
  /** For what the storage daemon uses until the supervisor has ended. */
  readonly lent: AsyncDisposableStack;
  readonly supervisor: Supervisor;
}

async function open(begun: Begun, disk: GuestDisk, options: GuestOptions): Promise<GuestSession> {
  const { directory, exportPath, ids, log } = begun;
  const { binds, onNotice, signal } = options;
  options.onMeasured?.();
  const lent = begun.lent.use(await lendDisk(disk, ids));
  const supervision = await begun.supervisor.begin(lent.disk, signal);
  const firstId = begun.userNamespace ? newFirstId(ids) : null;
  const { architecture = workerArchitecture } = disk;
  const emulated = runsOn(workerArchitecture, architecture) ? null : architecture;
  const holderId = emulated === null ? null : await startEmulation(supervision.processId, firstId, emulated);
  const place = { directory, exportPath, binds, firstId, emulated };
  const attaching =
    'layers' in disk
      ? attachStack(supervision, stackOf(disk), place)
      : attach(supervision, { ...place, partitions: disk.partitions, grown: disk.grown ?? null, onNotice });
  const attachment = await attaching.catch(async (error: unknown) =>
    Promise.reject(await explainLoss(error, { supervision, exportPath, signal })),
  );
  if (attachment.unmapped !== null) {
    if (emulated !== null) throw notEmulated(emulated, attachment.unmapped);
    log.warn('root in this image is root on the worker: no user namespace', { reason: attachment.unmapped });
  }
  if (options.proxy === undefined) supervision.listener.close();
  else options.proxy.serve(supervision.listener);
  const proxyUrl = options.proxy === undefined ? null : `http://127.0.0.1:${proxyPort}`;
  return createHostSession({ ...begun, supervision, attachment, holderId, disk, signal, proxyUrl });
}
