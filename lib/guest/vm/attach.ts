import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import type { Partition } from '../../image/partition.ts';
import { assemblyError, assertRuns, closedByAssembly, renderAssembly, withSubvolume } from '../assembly.ts';
import { findRoot, type Stage } from '../find-root.ts';
import type { GuestBind, GuestOutput, GuestScript } from '../guest.ts';
import { parseLook, subvolumeOption } from '../look.ts';
import { closedBecause, type MountingKernel, missingFeatures, mountFailure, noDriver } from '../mount-failure.ts';
import { lookOptions, mountOptions } from '../mount-options.ts';
import { openMounts, withoutClosed } from '../mounts.ts';
import { type ClosedMount, planMounts } from '../plan-mounts.ts';
import { guestScripts } from '../script.ts';
import { canOpen, type GuestKernel } from './kernel.ts';
import { guestAddress } from './machine-command.ts';
import { vmScripts } from './script.ts';

/** Mounts an image in the vm: its partitions, and the folders that scripts need around them. */

export interface Attachment {
  /** Mount points, `/` first. */
  readonly mounted: readonly string[];
  readonly notMounted: readonly ClosedMount[];
  /** Errors that the file systems had counted before they were opened this time. */
  readonly errorCount: number;
}

export interface AttachOptions {
  readonly kernel: GuestKernel;
  readonly partitions: readonly Partition[];
  readonly binds: readonly GuestBind[];
  /** Most processes that may run in the vm. */
  readonly processes: number;
  readonly onNotice: (message: string) => void;
  /** Architecture of the vm. */
  readonly architecture: string;
  /** Runs one of our scripts around the image. */
  readonly run: (script: GuestScript) => Promise<GuestOutput>;
}

/** The partitions that become disks of the vm: those with a file system that its kernel can open. */
export function partitionsToOpen(kernel: GuestKernel, partitions: readonly Partition[]): Partition[] {
  return partitions.filter(
    ({ fileSystem }) =>
      fileSystem !== null &&
      fileSystem.fault === undefined &&
      mountOptions[fileSystem.type] !== undefined &&
      canOpen(kernel, fileSystem.type),
  );
}

/** Mounts the image as the host guest does: throws `image.unsupported` or `image.corrupt`. */
export async function attach(options: AttachOptions): Promise<Attachment & { readonly root: Partition }> {
  const { kernel, partitions, onNotice } = options;
  const mounting: MountingKernel = { guest: 'vm', release: kernel.release };
  const opened = partitionsToOpen(kernel, partitions);
  const disks: Disks = { numbers: new Map() };
  const stage = createStage(options, opened, disks);
  const root = await findRoot(partitions, stage, onNotice);
  const plan = planMounts(root.system, partitions, root.partition);
  // The others are mounted together, which takes one script, but for those that this kernel may refuse.
  const mounted = [root.partition];
  const open = async (partition: Partition) => {
    if (!opened.includes(partition)) return noDriver(partition, mounting);
    if (mounted.includes(partition) || missingFeatures(partition, mounting).length === 0) return null;
    try {
      await stage.mount(partition, { subvolume: null, readOnly: false });
      mounted.push(partition);
      return null;
    } catch (error) {
      return closedBecause(error);
    }
  };
  const rootMount = { partition: root.partition, subvolume: subvolumeOption(root.system.subvolume) };
  const openedMounts = await openMounts(plan, rootMount, open, onNotice);
  const { mounts } = openedMounts;

  const used = [...new Set(mounts.map(({ partition }) => partition))];
  const others = used.filter((partition) => !mounted.includes(partition)).map(mountLine);
  const devices = used.map((partition) => ({ partition, ...deviceOf(disks.numbers, partition) }));
  const input = (binds: readonly GuestBind[]) =>
    renderAssembly({ devices, mounts, again: plan.binds, mountOptions, binds });
  const output = await assemble(others, input, options).catch((error: unknown) => {
    const partition = failedPartition(error, partitions);
    throw partition === undefined ? assemblyError(error) : mountFailure(partition, mounting, error);
  });
  const settled = withoutClosed(openedMounts, closedByAssembly(output), onNotice);
  return { root: root.partition, ...settled, errorCount: readErrorCount(output) };
}

/**
 * Mounts partitions, given as `NUMBER TYPE OPTIONS`, and runs assemble.sh with the input for the folders that it is to
 * lay into the image. Resolves with its output. Throws `image.unsupported` for an image of another processor than the vm's.
 */
export async function assemble(
  partitions: readonly string[],
  input: (binds: readonly GuestBind[]) => string,
  { architecture, binds, run }: Pick<AttachOptions, 'architecture' | 'binds' | 'run'>,
): Promise<string> {
  const folders: string[] = [];
  for (const [index, { source }] of binds.entries()) folders.push(...(await listFolders(source, String(index))));
  const { stdout } = await run({
    name: 'attach',
    text: vmScripts.attach,
    files: {
      partitions: partitions.map((line) => `${line}\n`).join(''),
      folders: folders.map((folder) => `${folder}\n`).join(''),
      assemble: guestScripts.assemble,
      plan: input(binds.map(({ target }, index) => ({ source: `/guest/binds/${index}`, target }))),
    },
  });
  assertRuns(stdout, architecture);
  return stdout;
}

/** The partition that `assemble` could not mount; undefined where it failed for another reason. */
export function failedPartition(error: unknown, partitions: readonly Partition[]): Partition | undefined {
  const number = error instanceof ExecError ? /^partition ([0-9]+)$/m.exec(error.stderr)?.[1] : undefined;
  return partitions.find((other) => String(other.number) === number);
}

/** The arguments of stage.sh. */
export function stageArguments(processes: number): readonly string[] {
  return [String(Math.floor(Date.now() / 1000)), guestAddress, String(processes)];
}

interface Disks {
  numbers: DeviceNumbers;
}

/** By number of the partition. */
export type DeviceNumbers = ReadonlyMap<number, { readonly major: number; readonly minor: number }>;

/** Mounts by scripts of the vm; the first also makes the disks known, which it notes in `disks`. */
function createStage({ kernel, run, processes }: AttachOptions, opened: readonly Partition[], disks: Disks): Stage {
  const mounting: MountingKernel = { guest: 'vm', release: kernel.release };
  let begun = false;
  return {
    async mount(partition, { subvolume, readOnly }) {
      const type = partition.fileSystem?.type;
      if (type === undefined || !opened.includes(partition)) {
        throw new ImageBuilderError('image.unsupported', noDriver(partition, mounting));
      }
      const flags = withSubvolume(
        readOnly ? lookOptions(type) : (mountOptions[type] ?? ''),
        subvolumeOption(subvolume),
      );
      const script: GuestScript = {
        name: 'stage',
        text: begun ? vmScripts.mount : `${vmScripts.stage}${vmScripts.mount}`,
        arguments: [
          ...(begun ? [] : stageArguments(processes)),
          ...[String(partition.number), type, flags, readOnly ? 'look' : 'keep'],
        ],
        files: { look: guestScripts.look },
      };
      try {
        const { stdout } = await run(script);
        if (!begun) disks.numbers = readDisks(stdout);
        return parseLook(stdout);
      } catch (error) {
        if (error instanceof ExecError && (error.exitCode === 64 || error.exitCode === 65)) {
          if (!begun) disks.numbers = readDisks(error.stdout);
          throw mountFailure(partition, mounting, error);
        }
        throw error;
      } finally {
        begun = true;
      }
    },
    async unmount({ number }) {
      await run({ name: 'unstage', text: 'umount "/guest/stage/$1"\n', arguments: [String(number)] });
    },
  };
}

/** From the output of stage.sh. */
export function readDisks(output: string): DeviceNumbers {
  const lines = output.matchAll(/^disk ([0-9]{1,3}) ([0-9]{1,6}) ([0-9]{1,9})$/gm);
  return new Map(
    [...lines].map(([, number, major, minor]) => [Number(number), { major: Number(major), minor: Number(minor) }]),
  );
}

/** From the output of attach.sh and detach.sh. */
export function readErrorCount(output: string): number {
  return Number(/^errors ([0-9]{1,9})$/m.exec(output)?.[1] ?? 0);
}

function mountLine({ number, fileSystem }: Partition): string {
  const type = fileSystem?.type ?? 'ext4';
  return `${number} ${type} ${mountOptions[type] ?? ''}`;
}

export function deviceOf(numbers: DeviceNumbers, { number }: Partition): { major: number; minor: number } {
  const found = numbers.get(number);
  if (found === undefined) throw new ImageBuilderError('guest.failed', `the vm has no disk for partition ${number}`);
  return found;
}

/**
 * `name` and its subfolders: apt wants some of them to be there, and old versions do not make them. Their files stay
 * out.
 */
async function listFolders(folder: string, name: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const below = entries.filter((entry) => entry.isDirectory() && /^[A-Za-z0-9._-]+$/.test(entry.name));
  const nested = await Promise.all(
    below.map((entry) => listFolders(join(folder, entry.name), `${name}/${entry.name}`)),
  );
  return [name, ...nested.flat()];
}
