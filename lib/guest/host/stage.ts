import { mkdir, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import { unescapeOctal } from '../../image/octal.js';
import type { Partition } from '../../image/partition.ts';
import { withSubvolume } from '../assembly.ts';
import type { Stage } from '../find-root.ts';
import { growArguments, growError, growProgram } from '../grow.ts';
import { parseLook, type System, subvolumeOption } from '../look.ts';
import { type MountingKernel, mountFailure, noDriver } from '../mount-failure.ts';
import { hostDriver, lookOptions, mountOptions } from '../mount-options.ts';
import { guestScripts } from '../script.ts';
import { execInside } from './namespace.ts';
import type { Supervision } from './supervision.ts';

/** Mounts the partitions of an image by loop devices, each beside the image, in the folder `stage` of the guest's. */

export interface StagePlace {
  /** The guest's folder; `directory/root` becomes the root of the image. */
  readonly directory: string;
  readonly exportPath: string;
}

const kernel: MountingKernel = { guest: 'host', release: release() };

export interface Loop {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/** Mounts by scripts in the namespaces. The root's loop device, and no other, is in `loops` in the end. */
export function createStage(supervision: Supervision, options: StagePlace, loops: Map<Partition, Loop>): Stage {
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
  { directory }: StagePlace,
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

export async function mountStage(
  supervision: Supervision,
  options: StagePlace,
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
export async function mountLoop(
  supervision: Supervision,
  options: StagePlace,
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
export async function growRoot(supervision: Supervision, options: StagePlace, root: Partition): Promise<Loop> {
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

export function stagePath(directory: string, partition: Partition): string {
  return join(directory, 'stage', String(partition.number));
}
