import { pause, sleep } from '../async.ts';
import { ImageBuilderError, isNoSpace, toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { formatBytes } from '../text.ts';
import { type Claim, lockClaims, readOtherClaims, writeClaim } from './space-claims.ts';
import type { Needs, SpaceFolders, SpacePlan, SpacePlanner } from './space-plan.ts';
import { type Room, readRoom, usedBytes } from './space-usage.ts';

/**
 * The disk space of one build. It is weighed against the claims of other builds before the build takes any, and watched
 * while the build runs, so that a build that takes more than its claim is stopped before the disk is full for all.
 */
export interface DiskSpace extends AsyncDisposable {
  /** The claims of the build, step by step. */
  readonly plan: SpacePlan;
  /** Aborted with `disk.full` (or `disk.small`) when this build has to be stopped. */
  readonly exhausted: AbortSignal;
  /**
   * Claims the room for the rest of the build. The first call waits while other builds hold the missing room. Throws
   * `disk.full`, or `disk.small` where the file system is too small for this build at any time.
   */
  claim(needs: Needs): Promise<void>;
  /** Whether there is room for so much at the moment, beside what other builds have claimed. Claims nothing, and drops nothing. */
  hasRoom(needs: Needs): Promise<boolean>;
  /**
   * Claims in the background, for needs that turn up on the way; aborts `exhausted` where there is no room for them.
   */
  expect(needs: Needs): void;
  /** Files below this folder, on the file system of the work directory, count as written by this build, too. */
  include(folder: string): void;
  /**
   * The error as it is, or `disk.full` with the folders and their room where a full disk has caused it. Call it before
   * the files of what has failed are removed.
   */
  explain(thrown: unknown): Promise<unknown>;
}

export interface DiskSpaceOptions {
  readonly folders: SpaceFolders;
  /** How the kind of image plans its space. */
  readonly planSpace: SpacePlanner;
  /** The folder of this build in `folders.work`. */
  readonly workDirectory: string;
  /** Bytes that the guest may write to the work directory beside the changes to the image. */
  readonly scratchBytes: number;
  /** Left free on every file system. */
  readonly reserveBytes: number;
  /** Drops so many bytes from the caches, as far as no build uses them; returns how many. */
  readonly makeRoom: (bytes: number) => Promise<number>;
  readonly onNotice: (message: string) => void;
  readonly signal: AbortSignal;
  readonly log: Log;
}

const lookMs = 500;
const waitMs = 1_000;
/** With less than this left, any failure counts as a consequence of it. */
const fullBytes = 16 * 1024 * 1024;

type Use = keyof Needs;

/** Starts watching; disposing stops it. The claims end with the work directory. */
export async function openDiskSpace(options: DiskSpaceOptions): Promise<DiskSpace> {
  const { folders, workDirectory, reserveBytes, signal, log } = options;
  const places = (['work', 'cache', 'store'] as const).flatMap((use): { use: Use; folder: string }[] => {
    const folder = folders[use];
    return folder === null ? [] : [{ use, folder }];
  });
  const rooms = async () =>
    await Promise.all(places.map(async ({ use, folder }) => ({ use, folder, ...(await readRoom(folder)) })));
  const devices = new Map((await rooms()).map(({ use, device }) => [use, device]));
  const workDevice = devices.get('work') ?? 0;
  const exhausted = new AbortController();
  const ownFolders = new Set([workDirectory]);
  const lowest = new Map<string, Room>();
  let claimed: Claim | null = null;
  let expecting: Promise<void> = Promise.resolve();

  async function look(): Promise<(Room & { readonly use: Use; readonly folder: string })[]> {
    const found = await rooms();
    for (const room of found) {
      if (room.freeBytes <= (lowest.get(room.folder)?.freeBytes ?? Number.POSITIVE_INFINITY)) {
        lowest.set(room.folder, room);
      }
    }
    return found;
  }

  /** Bytes by device. */
  function sum(needs: Needs): Map<number, number> {
    const bytes = new Map<number, number>();
    for (const [use, device] of devices) bytes.set(device, (bytes.get(device) ?? 0) + needs[use]);
    return bytes;
  }

  /** The first file system without enough room for this build; null where there is none. */
  async function findShortage(wanted: ReadonlyMap<number, number>): Promise<Shortage | null> {
    const others = await readOtherClaims(folders.work, workDirectory);
    for (const { folder, device, freeBytes, totalBytes } of await look()) {
      const neededBytes = wanted.get(device) ?? 0;
      const othersBytes = others.get(device) ?? 0;
      const missingBytes = neededBytes + reserveBytes + othersBytes - freeBytes;
      if (neededBytes > 0 && missingBytes > 0) {
        return { folder, device, neededBytes, othersBytes, missingBytes, freeBytes, totalBytes };
      }
    }
    return null;
  }

  async function tryClaim(wanted: ReadonlyMap<number, number>): Promise<Shortage | null> {
    await using _ = await lockClaims(folders.work, signal);
    let shortage = await findShortage(wanted);
    if (shortage !== null && shortage.device === devices.get('cache')) {
      const freedBytes = await options.makeRoom(shortage.missingBytes);
      if (freedBytes > 0) {
        log.info('caches made room for a build', { folder: shortage.folder, freed_bytes: freedBytes });
        shortage = await findShortage(wanted);
      }
    }
    if (shortage === null) claimed = await writeClaim(workDirectory, wanted);
    return shortage;
  }

  function refusal({ folder, neededBytes, othersBytes, freeBytes, totalBytes }: Shortage): ImageBuilderError {
    const need = `the build needs about ${formatBytes(neededBytes)} in ${folder}`;
    const reserve = `IMAGEBUILDER_DISK_RESERVE keeps ${formatBytes(reserveBytes)} free`;
    if (neededBytes + reserveBytes > totalBytes) {
      const message = `${need}, where there are ${formatBytes(totalBytes)} in all, and ${reserve}: this disk is too small for the image`;
      return new ImageBuilderError('disk.small', message);
    }
    const others = othersBytes > 0 ? `, other builds still take ${formatBytes(othersBytes)} of them` : '';
    return new ImageBuilderError(
      'disk.full',
      `${need}, where ${formatBytes(freeBytes)} are free${others}, and ${reserve}`,
    );
  }

  async function watch(): Promise<void> {
    const done = new Set<number>();
    for (const { use, folder, device, freeBytes, totalBytes } of await look()) {
      if (freeBytes >= reserveBytes || done.has(device)) continue;
      done.add(device);
      if (device === devices.get('cache') && (await options.makeRoom(reserveBytes - freeBytes)) > 0) continue;
      const ownSizes = use === 'work' ? await Promise.all([...ownFolders].map(usedBytes)) : [];
      const ownBytes = ownSizes.reduce((sum, bytes) => sum + bytes, 0);
      const beyond =
        device === workDevice && ownBytes > (claimed?.bytes[device] ?? 0) + (claimed?.usedBytes ?? 0) && ownBytes > 0;
      // Other builds cause this shortage, unless it goes on: then all stop.
      if (!beyond && freeBytes >= reserveBytes / 2) continue;
      exhausted.abort(stopReason({ folder, freeBytes, totalBytes }, ownBytes));
    }
  }

  function stopReason({ folder, freeBytes, totalBytes }: Omit<Room, 'device'> & { folder: string }, ownBytes: number) {
    const left = `${folder} has only ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} left, and IMAGEBUILDER_DISK_RESERVE keeps ${formatBytes(reserveBytes)} free`;
    const own = ownBytes > 0 ? `; this build has written ${formatBytes(ownBytes)} there` : '';
    const message = `the build was stopped before the disk was full: ${left}${own}`;
    if (ownBytes + reserveBytes <= totalBytes) return new ImageBuilderError('disk.full', message);
    return new ImageBuilderError('disk.small', `${message}: this disk is too small for the build`);
  }

  const closing = new AbortController();
  const watching = (async () => {
    while (!closing.signal.aborted && !exhausted.signal.aborted) {
      await watch().catch((error: unknown) => log.warn('the disk space cannot be watched', { error }));
      await pause(lookMs, closing.signal);
    }
  })();

  async function claim(needs: Needs): Promise<void> {
    const wanted = sum(needs);
    let told = false;
    for (;;) {
      const shortage = await tryClaim(wanted);
      if (shortage === null) return;
      const { neededBytes, totalBytes, othersBytes } = shortage;
      const hopeless = othersBytes === 0 || neededBytes + reserveBytes > totalBytes;
      if (hopeless || claimed !== null) throw refusal(shortage);
      if (!told) options.onNotice(`waiting for disk space: ${refusal(shortage).message}`);
      told = true;
      await sleep(waitMs, signal);
    }
  }

  return {
    plan: options.planSpace(
      {
        work: workDevice,
        cache: devices.get('cache') ?? 0,
        store: devices.get('store') ?? null,
      },
      options.scratchBytes,
    ),
    exhausted: exhausted.signal,
    include: (folder) => void ownFolders.add(folder),
    claim,
    hasRoom: async (needs) => (await findShortage(sum(needs))) === null,
    expect(needs) {
      expecting = expecting.then(() => claim(needs)).catch((error: unknown) => exhausted.abort(error));
    },
    async explain(thrown) {
      if (exhausted.signal.aborted) return exhausted.signal.reason;
      await look().catch((error: unknown) => log.warn('the disk space cannot be read', { error }));
      const low = [...lowest].filter(([, { freeBytes }]) => freeBytes < fullBytes);
      if (!isNoSpace(thrown) && (low.length === 0 || !isConsequence(thrown))) return thrown;
      const neededBytes = claimed?.bytes[workDevice];
      const need = neededBytes === undefined ? '' : `, where the build needs about ${formatBytes(neededBytes)}`;
      const rooms = [...lowest].map(
        ([folder, { freeBytes, totalBytes }]) =>
          `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} in ${folder}${folder === folders.work ? need : ''}`,
      );
      const { message, logTail } = toImageBuilderError(thrown);
      return new ImageBuilderError('disk.full', `${message}; at the least there were free: ${rooms.join(', ')}`, {
        cause: thrown,
        logTail,
      });
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await Promise.all([watching, expecting]);
    },
  };
}

interface Shortage {
  readonly folder: string;
  readonly device: number;
  readonly neededBytes: number;
  readonly othersBytes: number;
  readonly missingBytes: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Errors that a full disk of the worker causes inside an image or in a tool. */
function isConsequence(thrown: unknown): boolean {
  const { code } = toImageBuilderError(thrown);
  return [
    ...['internal', 'tool.failed', 'store.failed', 'guest.failed', 'apt.install', 'apt.package'],
    ...['apt.repository', 'apt.signature', 'image.corrupt', 'image.full', 'image.output', 'image.unsupported'],
  ].includes(code);
}
