import { mkdir, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { workerArchitecture } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import { unescapeOctal } from '../../image/octal.js';
import type { Partition } from '../../image/partition.ts';
import { lineAfter } from '../../text.ts';
import { giveTo } from '../../unprivileged.ts';
import {
  assemblyError,
  assertRuns,
  closedByAssembly,
  renderAssembly,
  renderStack,
  withSubvolume,
} from '../assembly.ts';
import { findRoot, type Stage } from '../find-root.ts';
import { assertGrows, growArguments, growError, growProgram } from '../grow.ts';
import type { GuestBind } from '../guest.ts';
import { parseLook, type System, subvolumeOption } from '../look.ts';
import { closedBecause, type MountingKernel, mountFailure, noDriver } from '../mount-failure.ts';
import { hostDriver, lookOptions, mountOptions } from '../mount-options.ts';
import { openMounts } from '../mounts.ts';
import { type ClosedMount, planMounts } from '../plan-mounts.ts';
import { guestScripts } from '../script.ts';
import { mountArguments, type Stack, upperFolder } from '../stack.ts';
import type { Device } from './container.ts';
import { idMapProgram } from './id-map.ts';
import { execInside } from './namespace.ts';
import type { Supervision } from './supervision.ts';

/** Mounts an image inside the namespaces: its partitions, and the folders that scripts need around them. */

export interface Attachment {
  /** Mount points, `/` first. */
  readonly mounted: readonly string[];
  readonly notMounted: readonly ClosedMount[];
  /** Names of the loop devices below the mounts, such as `loop3`. */
  readonly loops: readonly string[];
  /** Their names in /dev inside, as in the mount table. */
  readonly devices: readonly Device[];
  /** Paths by which the worker reaches the mounts, and that the image cannot influence. */
  readonly stages: readonly string[];
  /** The one of these that is the root of the image, or the folder with what a stack of layers has in its place. */
  readonly root: string;
  /** The worker's id for root inside; null where it is root. */
  readonly firstId: number | null;
  /** The image's own name. */
  readonly hostname: string;
  /** The reason why root inside is root although another id was asked for; null otherwise. */
  readonly unmapped: string | null;
}

export interface AttachOptions extends AttachPlace {
  readonly partitions: readonly Partition[];
  /** Number of the partition that has become larger; null for none. */
  readonly grown: number | null;
  readonly onNotice: (message: string) => void;
}

export interface AttachPlace {
  /** The guest's folder; `directory/root` becomes the root of the image. */
  readonly directory: string;
  readonly exportPath: string;
  readonly binds: readonly GuestBind[];
  /** The worker's id for root inside, which others follow; null for root. */
  readonly firstId: number | null;
  /** Architecture of the image's programs, where an emulator is to run them; null where the worker does. */
  readonly emulated: string | null;
}

const kernel: MountingKernel = { guest: 'host', release: release() };

/**
 * Mounts the root and all others that its boot mounts. Throws `image.unsupported` or `image.corrupt` where the root
 * cannot be mounted, or a present partition of a known file system cannot.
 */
export async function attach(supervision: Supervision, options: AttachOptions): Promise<Attachment> {
  const { directory, partitions, onNotice } = options;
  const loops = new Map<Partition, Loop>();
  const root = await findRoot(partitions, createStage(supervision, options, loops), onNotice);
  if (options.grown !== null) {
    assertGrows(root.partition, options.grown);
    loops.set(root.partition, await growRoot(supervision, options, root.partition));
  }

  const plan = planMounts(root.system, partitions, root.partition);
  const open = async (partition: Partition) => {
    try {
      if (!loops.has(partition)) loops.set(partition, await mountStage(supervision, options, partition));
      return null;
    } catch (error) {
      return closedBecause(error);
    }
  };
  const rootMount = { partition: root.partition, subvolume: subvolumeOption(root.system.subvolume) };
  const { mounts, notMounted } = await openMounts(plan, rootMount, open, onNotice);

  const devices = [...loops].map(([partition, { major, minor }]) => ({ partition, major, minor }));
  const input = renderAssembly({
    ...{ devices, mounts, again: plan.binds, driver: hostDriver, mountOptions, binds: options.binds },
  });
  const { closed, ...assembled } = await assembleFor(supervision, options, input);
  return {
    mounted: mounts.map(({ target }) => target),
    notMounted: [...notMounted, ...closed],
    loops: [...loops.values()].map(({ name }) => name),
    devices: devices.map(({ partition, major, minor }) => ({ name: `image${partition.number}`, major, minor })),
    stages: [...loops.keys()].map((partition) => stagePath(directory, partition)),
    root: stagePath(directory, root.partition),
    ...assembled,
  };
}

/**
 * Mounts the layers of a live medium, one above the other, as the root of what runs inside. Throws `image.corrupt` for a
 * damaged one, `image.unsupported` where this machine's kernel has no SquashFS or no overlays.
 */
export async function attachStack(
  supervision: Supervision,
  { layers, scratch }: Stack,
  options: AttachPlace,
): Promise<Attachment> {
  const { directory } = options;
  const loops = new Map<Partition, Loop>();
  // The scratch file system is the first: its errors count, and its changes are kept.
  for (const partition of [scratch, ...layers]) {
    loops.set(partition, await mountLoop(supervision, options, partition, mountArguments(partition)));
  }
  const devices = [...loops].map(([partition, { major, minor }]) => ({ partition, major, minor }));
  const input = renderStack({ layers, scratch }, devices, options.binds);
  const { closed, ...assembled } = await assembleFor(supervision, options, input);
  return {
    ...{ mounted: ['/'], notMounted: closed, devices: [] },
    loops: [...loops.values()].map(({ name }) => name),
    stages: [...loops.keys()].map((partition) => stagePath(directory, partition)),
    root: upperFolder(stagePath(directory, scratch)),
    ...assembled,
  };
}

/** Lays the folders of scripts around the image, and gives those that root inside owns to it. */
async function assembleFor(
  { processId }: Supervision,
  options: AttachPlace,
  input: string,
): Promise<Pick<Attachment, 'firstId' | 'hostname' | 'unmapped'> & { readonly closed: readonly ClosedMount[] }> {
  const { unmapped, hostname, closed } = await assemble(processId, options, input).catch((error: unknown) =>
    Promise.reject(assemblyError(error)),
  );
  const firstId = unmapped === null ? options.firstId : null;
  if (firstId !== null) {
    // The worker's folders for root inside. The image has not been able to reach them yet.
    const folders = [join(options.directory, 'jobs'), ...options.binds.map(({ source }) => source)];
    for (const folder of folders) await giveTo({ id: firstId, groups: [] }, folder);
  }
  return { firstId, hostname, unmapped, closed };
}

/**
 * Runs assemble.sh for containers. Throws `image.unsupported` for an image of another processor. `unmapped` is the reason
 * why they cannot have a user namespace; null where they can, or none is asked for.
 */
export async function assemble(
  processId: number,
  { directory, firstId, emulated }: Pick<AttachPlace, 'directory' | 'emulated' | 'firstId'>,
  input: string,
): Promise<Pick<Attachment, 'hostname' | 'unmapped'> & { readonly closed: readonly ClosedMount[] }> {
  const map = firstId === null ? [] : [String(firstId), idMapProgram];
  const command = ['sh', '-c', guestScripts.assemble, 'assemble', directory, 'own', ...map];
  const { stdout } = await execInside(processId, command, { input });
  assertRuns(stdout, emulated ?? workerArchitecture);
  return {
    hostname: lineAfter(stdout, 'hostname: ') ?? 'localhost',
    unmapped: lineAfter(stdout, 'unmapped: ') ?? null,
    closed: closedByAssembly(stdout),
  };
}

interface Loop {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/** Mounts by scripts in the namespaces. The root's loop device, and no other, is in `loops` in the end. */
function createStage(supervision: Supervision, options: AttachOptions, loops: Map<Partition, Loop>): Stage {
  const unmount = async (partition: Partition) => {
    await execInside(supervision.processId, ['umount', stagePath(options.directory, partition)]);
    loops.delete(partition);
  };
  return {
    async mount(partition, how) {
      loops.set(partition, await mountStage(supervision, options, partition, how));
      try {
        return await look(supervision, options, partition);
      } finally {
        if (how.readOnly) await unmount(partition);
      }
    },
    unmount,
  };
}

async function look(
  supervision: Supervision,
  { directory }: AttachOptions,
  partition: Partition,
): Promise<readonly System[]> {
  const place = [stagePath(directory, partition), partition.fileSystem?.type ?? ''];
  try {
    const { stdout } = await execInside(supervision.processId, ['sh', '-c', guestScripts.look, 'look', ...place]);
    return parseLook(stdout);
  } catch (error) {
    throw error instanceof ExecError ? failedMount(partition, error) : error;
  }
}

/** The kernel has no driver for a file system, which the message names. */
class NoDriver extends ImageBuilderError {
  constructor(partition: Partition, cause: unknown) {
    super('image.unsupported', noDriver(partition, kernel), { cause });
  }
}

/** The error of a mount that ended with an error of its own, or was killed. */
function failedMount(partition: Partition, error: ExecError): ImageBuilderError {
  if (error.exitCode === undefined || error.exitCode > 128) {
    return new ImageBuilderError('guest.failed', 'what mounts the image was killed', { cause: error });
  }
  return mountFailure(partition, kernel, error);
}

async function mountStage(
  supervision: Supervision,
  options: AttachOptions,
  partition: Partition,
  { subvolume, readOnly }: { subvolume: string | null; readOnly: boolean } = { subvolume: null, readOnly: false },
): Promise<Loop> {
  const type = partition.fileSystem?.type;
  const flags = type === undefined ? undefined : readOnly ? lookOptions(type) : mountOptions[type];
  if (type === undefined || flags === undefined) throw new NoDriver(partition, undefined);
  const whole = withSubvolume(flags, subvolumeOption(subvolume));
  return await mountLoop(supervision, options, partition, [hostDriver(type), whole]);
}

/** Mounts a part of the disk, by a loop device, beside the image. */
async function mountLoop(
  supervision: Supervision,
  options: AttachPlace,
  partition: Partition,
  [type, flags]: readonly [type: string, flags: string],
): Promise<Loop> {
  const target = stagePath(options.directory, partition);
  await mkdir(target, { recursive: true });
  const { offsetBytes, sizeBytes } = partition;
  try {
    await execInside(supervision.processId, [
      ...['sh', '-c', guestScripts['attach-partition'], 'attach-partition'],
      ...[options.exportPath, target, String(offsetBytes), String(sizeBytes), type, flags],
    ]);
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    if (/unknown filesystem type/.test(error.stderr)) throw new NoDriver(partition, error);
    if (/failed to setup loop device|could not find any|cannot find an unused loop/i.test(error.stderr)) {
      throw new ImageBuilderError('guest.unavailable', 'no loop device can be had', { cause: error });
    }
    if (type === 'btrfs' && /File exists/.test(error.stderr)) {
      const message =
        'another build has a copy of this btrfs open, and kernels before Linux 6.7 open only one at a time';
      throw new ImageBuilderError('guest.failed', message, { cause: error });
    }
    throw failedMount(partition, error);
  }
  const loop = await loopOf(supervision.processId, target);
  supervision.holdUntilGone(loop.name);
  return loop;
}

/**
 * Lets the file system of the mounted root take up its partition. ext4 grows in place only for a worker with the
 * capability sys_resource, which containers often lack; then it grows unmounted, after its journal has been replayed.
 */
async function growRoot(supervision: Supervision, options: AttachOptions, root: Partition): Promise<Loop> {
  const { processId } = supervision;
  const target = stagePath(options.directory, root);
  try {
    await execInside(processId, ['perl', growProgram, target, ...growArguments(root)]);
    return await loopOf(processId, target);
  } catch (error) {
    const isExt = root.fileSystem?.type.startsWith('ext') === true;
    const isForbidden = error instanceof ExecError && error.stderr.includes('Operation not permitted');
    if (!isExt || !isForbidden) throw growError(error, root);
  }
  await execInside(processId, ['umount', target]);
  const place = [options.exportPath, String(root.offsetBytes), String(root.sizeBytes)];
  const command = ['sh', '-c', guestScripts['grow-unmounted'], 'grow-unmounted', ...place];
  await execInside(processId, command).catch((error: unknown) => Promise.reject(growError(error, root)));
  return await mountStage(supervision, options, root);
}

async function loopOf(processId: number, target: string): Promise<Loop> {
  const table = await readFile(`/proc/${processId}/mountinfo`, 'utf8');
  for (const line of table.split('\n')) {
    const [, , , , path = ''] = line.split(' ');
    if (unescapeOctal(path) !== target) continue;
    const name = /\/(loop[0-9]+) /.exec(line)?.[1];
    if (name === undefined) continue;
    // Not the number in this line: a btrfs has one of its own.
    const device = await readFile(`/sys/block/${name}/dev`, 'utf8');
    const [major = Number.NaN, minor = Number.NaN] = device.split(':').map(Number);
    return { name, major, minor };
  }
  throw new ImageBuilderError('guest.failed', `${target} is not mounted though it should be`);
}

function stagePath(directory: string, partition: Partition): string {
  return join(directory, 'stage', String(partition.number));
}
