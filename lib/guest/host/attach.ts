import { join } from 'node:path';
import { workerArchitecture } from '../../architecture.ts';
import type { Partition } from '../../image/partition.ts';
import { lineAfter } from '../../text.ts';
import { giveTo } from '../../unprivileged.ts';
import { assemblyError, assertRuns, closedByAssembly, renderAssembly, renderStack } from '../assembly.ts';
import { findRoot } from '../find-root.ts';
import { assertGrows } from '../grow.ts';
import type { GuestBind } from '../guest.ts';
import { subvolumeOption } from '../look.ts';
import { closedBecause } from '../mount-failure.ts';
import { hostDriver, mountOptions } from '../mount-options.ts';
import { openMounts, withoutClosed } from '../mounts.ts';
import { type ClosedMount, planMounts } from '../plan-mounts.ts';
import { guestScripts } from '../script.ts';
import { mountArguments, type Stack, upperFolder } from '../stack.ts';
import type { Device } from './container.ts';
import { idMapProgram } from './id-map.ts';
import { execInside } from './namespace.ts';
import { createStage, growRoot, type Loop, mountLoop, mountStage, type StagePlace, stagePath } from './stage.ts';
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

export interface AttachPlace extends StagePlace {
  readonly binds: readonly GuestBind[];
  /** The worker's id for root inside, which others follow; null for root. */
  readonly firstId: number | null;
  /** Architecture of the image's programs, where an emulator is to run them; null where the worker does. */
  readonly emulated: string | null;
}

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
  const opened = await openMounts(plan, rootMount, open, onNotice);

  const devices = [...loops].map(([partition, { major, minor }]) => ({ partition, major, minor }));
  const input = renderAssembly({
    ...{ devices, mounts: opened.mounts, again: plan.binds, driver: hostDriver, mountOptions, binds: options.binds },
  });
  const { closed, ...assembled } = await assembleFor(supervision, options, input);
  return {
    ...withoutClosed(opened, closed, onNotice),
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
