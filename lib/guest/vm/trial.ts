import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { execa } from 'execa';
import { onAbort } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { cleanEnvironment, collectLines } from '../../exec.ts';
import type { ImageInspection } from '../../image/inspection.ts';
import { createOverlay } from '../../image/overlay.ts';
import { type IdRange, privilegeArguments } from '../../privileges.ts';
import { guestDirectory, guestVariable } from '../identity.ts';
import { openFiles } from './handed-files.ts';
import { type Accelerator, findMachine } from './machine.ts';
import { readConsole } from './trial-console.ts';
import {
  assertFirmware,
  type Firmware,
  isTraced,
  type TrialDrive,
  tracedRead,
  trialCommand,
  uefiVariables,
} from './trial-machine.ts';
import { followMonitor } from './trial-monitor.ts';
import { processorSeconds, type Sample, watchForStall } from './trial-stall.ts';
import { vmUser } from './vm-user.ts';

/** Boots an image for a trial, in a machine that is thrown away. */

/** One way to boot an image. */
export interface TrialWay {
  readonly firmware: Firmware;
  readonly drive: TrialDrive;
  readonly image: Pick<ImageInspection, 'format' | 'virtualSizeBytes' | 'qcow2'>;
  /** Follows the boot by what the machine reads; null for an image of which only the end is awaited. */
  readonly follow: (() => TrialFollower) | null;
}

/** Knows how far a machine is by the parts of the image that it has read. */
export interface TrialFollower {
  onRead(offsetBytes: number, sizeBytes: number): void;
  /** True where a menu may wait for a key. */
  readonly isBeforeKernel: boolean;
  /** True once all has been read that this trial is for. */
  readonly isEnough: boolean;
  /** True once the system itself, and not only its initial ramdisk, has been read. */
  readonly hasSystem: boolean;
  /** A clause about the last stage that was reached. */
  describe(): string;
}

export interface TrialOptions {
  readonly way: TrialWay;
  /** The image, which is only read. */
  readonly path: string;
  readonly accelerator: Accelerator;
  /** The build's folder, in which no guest is open. */
  readonly workDirectory: string;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

export interface Booted {
  /** Version of the kernel that came up; null where the system did not say. */
  readonly kernel: string | null;
  /** `enough`: the trial has ended by its follower, before the system was up. */
  readonly until: 'up' | 'enough';
}

/** An emulated machine is up within a minute; beside other builds it takes several times as long. */
const limitMinutes = 10;
/** Initial ramdisks of media have all drivers, and look for the medium. */
const mediumLimitMinutes = 15;
const sampleEveryMs = 5_000;
/** Parts of an image, to tell new reads from repeated ones. */
const partBytes = 2 ** 20;
const [consolePort, monitorPort] = [3, 4];

/** Throws `guest.unavailable` where no machine can be had for `bootTrial`. */
export async function assertTrials(): Promise<void> {
  const { emulator } = await findMachine();
  if (emulator !== 'qemu-system-x86_64') {
    throw new ImageBuilderError('guest.unavailable', 'images are booted for a check on amd64 machines only');
  }
}

/**
 * Boots the image until its system is up, or its follower has enough. Throws `image.unbootable` with the stage that was
 * reached and the console's last lines, `guest.unavailable` where the machine cannot be had, `guest.failed` where it ends
 * by itself, or the reason of the signal.
 */
export async function bootTrial(options: TrialOptions): Promise<Booted> {
  const { signal, way } = options;
  signal.throwIfAborted();
  await assertFirmware(way.firmware);
  const directory = guestDirectory(options.workDirectory);
  await mkdir(directory, { mode: 0o700 });
  try {
    const place = {
      directory,
      overlayPath: join(directory, 'trial.qcow2'),
      variablesPath: join(directory, 'variables.fd'),
    };
    const { path } = options;
    if (way.drive !== 'cd') {
      const { overlayPath } = place;
      await createOverlay({ basePath: path, base: way.image, overlayPath, signal });
    }
    if (way.firmware === 'uefi') await copyFile(uefiVariables, place.variablesPath);
    return (await watch(options, place, true)) ?? (await watch(options, place, false)) ?? fail(options);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function fail({ way }: TrialOptions): never {
  throw unbootable(way, 'its initial ramdisk switches the machine off', []);
}

interface Place {
  readonly directory: string;
  readonly overlayPath: string;
  readonly variablesPath: string;
}

/**
 * Resolves with null where the machine was switched off before its system was read: initial ramdisks with systemd obey the
 * orders that are meant for the system.
 */
async function watch(options: TrialOptions, place: Place, givesOrders: boolean): Promise<Booted | null> {
  const { accelerator, way, signal } = options;
  const { emulator } = await findMachine();
  const { firmware, drive } = way;
  const image = { path: options.path, format: way.image.format };
  const follower = way.follow?.() ?? null;
  const reporting = { reportsReads: follower !== null, givesOrders };
  const machine = { emulator, accelerator, firmware, drive, image, ...place, consolePort, monitorPort, ...reporting };
  const { arguments: words, files } = trialCommand(machine);
  const user = vmUser(options.unprivilegedIds, accelerator);
  const privileges = ['--pdeathsig', 'KILL', ...privilegeArguments(user), '--', 'prlimit', '--core=0', '--'];
  await using opened = await openFiles(files, { user, directory: place.directory });
  const child = execa('setpriv', [...privileges, emulator, ...words], {
    env: { ...cleanEnvironment, [guestVariable]: place.directory },
    extendEnv: false,
    // execa takes descriptors, too, although its types do not have them in these places.
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', ...(opened.descriptors as unknown as 'pipe'[])],
    buffer: false,
    reject: false,
    detached: true,
    cleanup: true,
  });
  const [console, monitor] = [child.stdio[consolePort], child.stdio[monitorPort]] as unknown as [Duplex, Duplex];
  const verdict = Promise.withResolvers<Verdict>();
  const onDead = (reason: string) => verdict.resolve({ reason });
  const parts = new Set<number>();
  const last = readMessages(child.stderr, ({ offsetBytes, sizeBytes }) => {
    // Systems may ask for what lies behind the end.
    if (offsetBytes + sizeBytes > way.image.virtualSizeBytes) return;
    for (let at = offsetBytes; at < offsetBytes + sizeBytes; at += partBytes) parts.add(Math.floor(at / partBytes));
    follower?.onRead(offsetBytes, sizeBytes);
    if (follower?.isEnough === true) verdict.resolve({ until: 'enough' });
  });
  const said = readConsole(console, onDead);
  followMonitor(monitor, {
    // Live systems ask for it before they switch the machine off.
    wantsEnter: () => follower !== null && (follower.isBeforeKernel || follower.hasSystem),
    onEnd: (reason) => (reason === null ? verdict.resolve({ until: 'up' }) : onDead(reason)),
  });
  const ended = child.then(() => {
    const reason = last() ?? 'it gave no reason';
    verdict.reject(new ImageBuilderError('guest.failed', `the machine has ended by itself: ${reason}`));
  });
  using _aborted = onAbort(signal, () => verdict.reject(signal.reason));
  const minutes = follower === null ? limitMinutes : mediumLimitMinutes;
  const timer = setTimeout(() => onDead(`it is not up after ${minutes} minutes`), minutes * 60_000);
  const sampler =
    follower === null
      ? undefined
      : sample(child.pid, () => ({ parts: parts.size, hasKernel: !follower.isBeforeKernel }), onDead);
  try {
    const found = await verdict.promise;
    if ('reason' in found) {
      const { reason } = found;
      const why = follower === null || parts.size === 0 ? reason : `${follower.describe()}; ${reason}`;
      throw unbootable(way, why, said.lines());
    }
    const isEarly = found.until === 'up' && follower?.hasSystem === false && parts.size > 0;
    return isEarly ? null : { kernel: said.kernel, until: found.until };
  } finally {
    clearTimeout(timer);
    clearInterval(sampler);
    child.kill('SIGKILL');
    await ended;
    said.stop();
  }
}

type Verdict = { readonly until: Booted['until'] } | { readonly reason: string };

/** Reads what QEMU says. Returns a function for its last message. */
function readMessages(
  stream: NodeJS.ReadableStream | null,
  onRead: (read: NonNullable<ReturnType<typeof tracedRead>>) => void,
): () => string | undefined {
  let last: string | undefined;
  collectLines(stream, (line) => {
    const read = tracedRead(line);
    if (read !== null) onRead(read);
    else if (!isTraced(line) && line.trim() !== '') last = line;
  });
  return () => last;
}

function sample(
  pid: number | undefined,
  state: () => Pick<Sample, 'parts' | 'hasKernel'>,
  onStall: (reason: string) => void,
): NodeJS.Timeout {
  const judge = watchForStall();
  const take = async () => {
    const processor = pid === undefined ? null : await processorSeconds(pid);
    const reason = processor === null ? null : judge({ at: performance.now() / 1000, processor, ...state() });
    if (reason !== null) onStall(reason);
  };
  return setInterval(() => void take(), sampleEveryMs);
}

function unbootable(way: TrialWay, why: string, logTail: readonly string[]): ImageBuilderError {
  return new ImageBuilderError('image.unbootable', `${describeWay(way)} the image does not boot: ${why}`, { logTail });
}

const firmwareNames: Readonly<Record<Firmware, string>> = { bios: 'BIOS', uefi: 'UEFI' };
const driveNames: Readonly<Record<TrialDrive, string>> = { 'cloud-disk': '', disk: ' from a disk', cd: ' from a CD' };

/** `by UEFI`, `by BIOS from a CD`. */
export function describeWay({ firmware, drive }: Pick<TrialWay, 'firmware' | 'drive'>): string {
  return `by ${firmwareNames[firmware]}${driveNames[drive]}`;
}
