import { lstat, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import { findRoot } from '../../image/layout.ts';
import { unescapeOctal } from '../../image/octal.ts';
import type { Partition } from '../../image/partition.ts';
import { lineAfter } from '../../text.ts';
import { giveTo } from '../../unprivileged.ts';
import { assemblyError, assertRunsHere, renderAssembly } from '../assembly.ts';
import { type ClosedMount, planMounts } from '../fstab.ts';
import type { GuestBind } from '../guest.ts';
import { hostDriver, hostMountOptions } from '../mount-options.ts';
import { openMounts } from '../mounts.ts';
import { guestScripts } from '../script.ts';
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
  /** The worker's id for root inside; null where it is root. */
  readonly firstId: number | null;
  /** The reason why root inside is root although another id was asked for; null otherwise. */
  readonly unmapped: string | null;
}

export interface AttachOptions {
  /** The guest's folder; `directory/root` becomes the root of the image. */
  readonly directory: string;
  readonly exportPath: string;
  readonly partitions: readonly Partition[];
  readonly binds: readonly GuestBind[];
  /** The worker's id for root inside, which others follow; null for root. */
  readonly firstId: number | null;
  readonly onNotice: (message: string) => void;
}

/**
 * Mounts the root partition and all others that its fstab names. Throws `image.unsupported` or `image.corrupt` where
 * the root cannot be mounted, or a present partition of a known file system cannot.
 */
export async function attach(supervision: Supervision, options: AttachOptions): Promise<Attachment> {
  const { directory, partitions, onNotice } = options;
  const root = findRoot(partitions);
  const loops = new Map<Partition, Loop>();
  loops.set(root, await mountStage(supervision, options, root));

  const plan = planMounts(await readFstab(supervision.processId, stagePath(directory, root)), partitions, root);
  const open = async (partition: Partition) => {
    try {
      loops.set(partition, await mountStage(supervision, options, partition));
      return null;
    } catch (error) {
      if (error instanceof UnknownFileSystem) return error.message;
      throw error;
    }
  };
  const { mounts, notMounted } = await openMounts(plan, root, open, onNotice);

  const devices = [...loops].map(([partition, { major, minor }]) => ({ partition, major, minor }));
  const input = renderAssembly({
    ...{ devices, mounts, driver: hostDriver, mountOptions: hostMountOptions, binds: options.binds },
  });
  const unmapped = await assemble(supervision.processId, options, input).catch((error: unknown) =>
    Promise.reject(assemblyError(error)),
  );
  const firstId = unmapped === null ? options.firstId : null;
  if (firstId !== null) {
    // The worker's folders for root inside. The image has not been able to reach them yet.
    const folders = [join(directory, 'jobs'), ...options.binds.map(({ source }) => source)];
    for (const folder of folders) await giveTo({ id: firstId, groups: [] }, folder);
  }
  return {
    mounted: mounts.map(({ target }) => target),
    notMounted,
    loops: [...loops.values()].map(({ name }) => name),
    devices: devices.map(({ partition, major, minor }) => ({ name: `image${partition.number}`, major, minor })),
    stages: [...loops.keys()].map((partition) => stagePath(directory, partition)),
    firstId,
    unmapped,
  };
}

/**
 * Runs assemble.sh for containers. Throws `image.unsupported` for an image of another processor. Returns the reason why they cannot have a user namespace; null where they can, or
 * none is asked for.
 */
export async function assemble(
  processId: number,
  { directory, firstId }: Pick<AttachOptions, 'directory' | 'firstId'>,
  input: string,
): Promise<string | null> {
  const map = firstId === null ? [] : [String(firstId), idMapProgram];
  const command = ['sh', '-c', guestScripts.assemble, 'assemble', directory, 'own', ...map];
  const { stdout } = await execInside(processId, command, { input });
  assertRunsHere(stdout);
  return lineAfter(stdout, 'unmapped: ') ?? null;
}

interface Loop {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/** The kernel has no driver for a file system, which the message names. */
class UnknownFileSystem extends ImageBuilderError {
  constructor(type: string, cause: unknown) {
    super('image.unsupported', `this machine’s kernel cannot open ${type}`, { cause });
  }
}

async function mountStage(supervision: Supervision, options: AttachOptions, partition: Partition): Promise<Loop> {
  const type = partition.fileSystem?.type;
  const flags = type === undefined ? undefined : hostMountOptions[type];
  if (type === undefined || flags === undefined) {
    throw new ImageBuilderError(
      'image.unsupported',
      `partition ${partition.number} holds ${type ?? 'no file system that is known'}, which is not opened here`,
    );
  }
  const target = stagePath(options.directory, partition);
  await mkdir(target, { recursive: true });
  const { offsetBytes, sizeBytes } = partition;
  try {
    await execInside(supervision.processId, [
      ...['sh', '-c', guestScripts['attach-partition'], 'attach-partition'],
      ...[options.exportPath, target, String(offsetBytes), String(sizeBytes), hostDriver(type), flags],
    ]);
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    if (error.exitCode === undefined || error.exitCode > 128) {
      throw new ImageBuilderError('guest.failed', 'what mounts the image was killed', { cause: error });
    }
    if (/unknown filesystem type/.test(error.stderr)) throw new UnknownFileSystem(type, error);
    if (/failed to setup loop device|could not find any|cannot find an unused loop/i.test(error.stderr)) {
      throw new ImageBuilderError('guest.unavailable', `no loop device can be had: ${error.message}`, { cause: error });
    }
    throw new ImageBuilderError(
      'image.corrupt',
      `the ${type} file system of partition ${partition.number} cannot be mounted: ${error.logTail[0] ?? error.message}`,
      { cause: error, logTail: error.logTail },
    );
  }
  const loop = await loopOf(supervision.processId, target);
  supervision.holdUntilGone(loop.name);
  return loop;
}

async function loopOf(processId: number, target: string): Promise<Loop> {
  const table = await readFile(`/proc/${processId}/mountinfo`, 'utf8');
  for (const line of table.split('\n')) {
    const [, , device = '', , path = ''] = line.split(' ');
    if (unescapeOctal(path) !== target) continue;
    const [major = Number.NaN, minor = Number.NaN] = device.split(':').map(Number);
    const name = /\/(loop[0-9]+) /.exec(line)?.[1];
    if (name !== undefined) return { name, major, minor };
  }
  throw new ImageBuilderError('guest.failed', `${target} is not mounted though it should be`);
}

function stagePath(directory: string, partition: Partition): string {
  return join(directory, 'stage', String(partition.number));
}

/**
 * Text of the image's fstab; empty where there is none. Nothing of the image runs yet, so the file cannot change during
 * the checks. A link is not followed, since from here it would lead to the worker's own files.
 */
async function readFstab(processId: number, root: string): Promise<string> {
  const base = `/proc/${processId}/root${root}`;
  const folder = await lstat(join(base, 'etc')).catch(() => null);
  const file = await lstat(join(base, 'etc/fstab')).catch(() => null);
  if (folder?.isDirectory() !== true)
    throw new ImageBuilderError('image.unsupported', '/etc in the image is no folder');
  if (file === null) return '';
  if (!file.isFile() || file.size > 1024 * 1024) {
    throw new ImageBuilderError('image.unsupported', '/etc/fstab in the image is no plain file');
  }
  return await readFile(join(base, 'etc/fstab'), 'utf8');
}
