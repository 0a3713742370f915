import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import { findRoot } from '../../image/layout.ts';
import type { Partition } from '../../image/partition.ts';
import { assemblyError, assertRunsHere, renderAssembly } from '../assembly.ts';
import { type ClosedMount, planMounts } from '../fstab.ts';
import type { GuestBind, GuestOutput, GuestScript } from '../guest.ts';
import { vmMountOptions } from '../mount-options.ts';
import { openMounts } from '../mounts.ts';
import { guestScripts } from '../script.ts';
import { canOpen, type GuestKernel } from './kernel.ts';
import { guestAddress } from './machine.ts';
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
  /** Runs one of our scripts around the image. */
  readonly run: (script: GuestScript) => Promise<GuestOutput>;
}

/** The partitions that become disks of the vm: those with a file system that its kernel can open. */
export function partitionsToOpen(kernel: GuestKernel, partitions: readonly Partition[]): Partition[] {
  return partitions.filter(
    ({ fileSystem }) =>
      fileSystem !== null && vmMountOptions[fileSystem.type] !== undefined && canOpen(kernel, fileSystem.type),
  );
}

/** Mounts the image as the host guest does: throws `image.unsupported` or `image.corrupt`. */
export async function attach(options: AttachOptions): Promise<Attachment> {
  const { kernel, partitions, run, onNotice, processes } = options;
  const root = findRoot(partitions);
  const opened = partitionsToOpen(kernel, partitions);
  if (!opened.includes(root)) {
    throw new ImageBuilderError('image.unsupported', `the kernel of the vm cannot open ${root.fileSystem?.type}`);
  }
  const stage = await stageRoot(root, processes, run);
  const plan = planMounts(stage.fstab, partitions, root);
  const open = async (partition: Partition) => {
    if (opened.includes(partition)) return null;
    return `the kernel of the vm cannot open ${partition.fileSystem?.type ?? 'no file system that is known'}`;
  };
  const { mounts, notMounted } = await openMounts(plan, root, open, onNotice);

  const others = mounts.slice(1).map(({ partition }) => mountLine(partition));
  const binds = options.binds.map(({ target }, index) => ({ source: `/guest/binds/${index}`, target }));
  const folders: string[] = [];
  for (const [index, { source }] of options.binds.entries())
    folders.push(...(await listFolders(source, String(index))));
  const devices = mounts.map(({ partition }) => ({ partition, ...deviceOf(stage.disks, partition) }));
  try {
    const { stdout } = await run({
      name: 'attach',
      text: vmScripts.attach,
      files: {
        partitions: others.map((line) => `${line}\n`).join(''),
        folders: folders.map((folder) => `${folder}\n`).join(''),
        assemble: guestScripts.assemble,
        plan: renderAssembly({ devices, mounts, mountOptions: vmMountOptions, binds }),
      },
    });
    assertRunsHere(stdout);
  } catch (error) {
    const number = error instanceof ExecError ? /^partition ([0-9]+)$/m.exec(error.stderr)?.[1] : undefined;
    const partition = partitions.find((other) => String(other.number) === number);
    throw partition === undefined ? assemblyError(error) : cannotMount(partition, error);
  }
  return { mounted: mounts.map(({ target }) => target), notMounted, errorCount: stage.errorCount };
}

interface Stage {
  /** By number of the partition. */
  readonly disks: ReadonlyMap<number, { readonly major: number; readonly minor: number }>;
  readonly errorCount: number;
  readonly fstab: string;
}

async function stageRoot(root: Partition, processes: number, run: AttachOptions['run']): Promise<Stage> {
  const now = String(Math.floor(Date.now() / 1000));
  let stdout: string;
  try {
    const script = {
      name: 'stage',
      text: vmScripts.stage,
      arguments: [now, ...mountLine(root).split(' '), guestAddress, String(processes)],
    };
    stdout = (await run(script)).stdout;
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    if (error.exitCode === 64) throw cannotMount(root, error);
    if (error.exitCode !== 65) throw error;
    throw new ImageBuilderError('image.unsupported', error.stderr.trim(), { cause: error });
  }
  const [head = '', fstab = ''] = splitAt(stdout, 'fstab\n');
  const disks = [...head.matchAll(/^disk ([0-9]+) ([0-9]+) ([0-9]+)$/gm)].map(
    ([, number, major, minor]) => [Number(number), { major: Number(major), minor: Number(minor) }] as const,
  );
  return { disks: new Map(disks), errorCount: readErrorCount(head), fstab };
}

/** From the output of stage.sh and detach.sh. */
export function readErrorCount(output: string): number {
  return Number(/^errors ([0-9]{1,9})$/m.exec(output)?.[1] ?? 0);
}

function splitAt(text: string, separator: string): [string, string] {
  const place = text.indexOf(separator);
  return place < 0 ? [text, ''] : [text.slice(0, place), text.slice(place + separator.length)];
}

function mountLine({ number, fileSystem }: Partition): string {
  const type = fileSystem?.type ?? 'ext4';
  return `${number} ${type} ${vmMountOptions[type] ?? ''}`;
}

function deviceOf(disks: Stage['disks'], { number }: Partition): { major: number; minor: number } {
  const found = disks.get(number);
  if (found === undefined) throw new ImageBuilderError('guest.failed', `the vm has no disk for partition ${number}`);
  return found;
}

function cannotMount({ number, fileSystem }: Partition, error: unknown): ImageBuilderError {
  const logTail = error instanceof ImageBuilderError ? error.logTail : [];
  const reason = logTail.find((line) => line.startsWith('mount:')) ?? logTail[0] ?? 'mount failed';
  return new ImageBuilderError(
    'image.corrupt',
    `the ${fileSystem?.type} file system of partition ${number} cannot be mounted: ${reason}`,
    { cause: error, logTail },
  );
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
