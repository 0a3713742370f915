import { type FileHandle, link, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lostLiveDrivers } from '../../boot/drivers.ts';
import { readKernelFile } from '../../boot/kernel-file.ts';
import { type LiveInitrd, readLiveInitrd } from '../../boot/live-initrd.ts';
import { readAt } from '../../image/read-at.ts';
import type { Range } from '../../image/unwrap/decompress.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { Squashfs, SquashfsLimits } from '../../squashfs/open.ts';
import { createView, type LayerView } from '../../squashfs/thin/view.ts';
import { contentOf, copyFromView, type ShownFile } from '../../squashfs/view-files.ts';
import { plain } from '../../text.ts';
import { chooseKernels } from './choose-kernel.ts';
import { compareKernels, type KernelFiles, kernelsIn, linkedKernel, modulesOf } from './live-system.ts';
import { type MediumKernel, readMediumIds, readMediumKernels } from './medium-kernels.ts';

/** The kernels that a medium boots, after a change of its live system. */

export interface NewKernelOptions {
  readonly mediumPath: string;
  /** The files of the medium. */
  readonly files: IsoTree;
  /** The layers of the live system as they were, and as they are now; the lowest first. */
  readonly before: readonly Squashfs[];
  readonly after: readonly Squashfs[];
  /** An existing folder that only this build uses. */
  readonly directory: string;
  readonly limits: SquashfsLimits;
}

export interface NewKernels {
  /** Files of the worker by the paths that they get on the medium; empty where it goes on booting what it has. */
  readonly files: ReadonlyMap<string, string>;
  readonly booted: readonly BootedKernel[];
  /** Lines for the log of the build. */
  readonly lines: readonly string[];
  /** News for the result: reasons why the medium boots another kernel than its live system has. */
  readonly warnings: readonly string[];
}

/** A kernel that the new medium boots. */
export interface BootedKernel {
  readonly version: string;
  /** Paths on the medium. */
  readonly kernels: readonly string[];
  readonly initrds: readonly string[];
}

/** The largest kernels have some tens of MB, initial ramdisks with firmware some hundreds. */
const maximumKernelBytes = 256 * 2 ** 20;
const maximumInitrdBytes = 2 ** 30;

/**
 * Writes kernel and initial ramdisk of the live system to `directory` where the change has brought new ones that the medium
 * can boot, with the id by which casper and live-boot know their medium: all of a kernel's files, or none. Throws
 * `image.corrupt`, `disk.full`, `tool.failed`, or the reason of the signal.
 */
export async function writeNewKernels(options: NewKernelOptions): Promise<NewKernels> {
  const { mediumPath, files, directory, limits } = options;
  const [viewBefore, view] = [createView(options.before), createView(options.after)];
  const [before, after] = [kernelsIn(viewBefore), kernelsIn(view)];
  const system = await compareKernels(before, after, limits);
  const gone = [...before.keys()].filter((version) => !after.has(version));
  const changed = system.filter(({ isChanged }) => isChanged).map(({ version }) => version);
  if (changed.length === 0 && gone.length === 0) return { files: new Map(), booted: [], lines: [], warnings: [] };

  await using medium = await open(mediumPath, 'r');
  const isSame = async (kernel: ShownFile, { offset }: Range) => {
    let at = offset;
    for await (const piece of contentOf(kernel, limits)) {
      if (!piece.equals(await readAt(medium, at, piece.length))) return false;
      at += piece.length;
    }
    return true;
  };
  const onMedium = await readMediumKernels(medium, files, {
    ...{ limits, directory },
    recognise: async (place) => {
      for (const [version, { kernel }] of before) {
        if (kernel.inode.sizeBytes === place.sizeBytes && (await isSame(kernel, place))) return version;
      }
      return null;
    },
  });
  const chosen = chooseKernels(
    onMedium.map(({ version }) => version),
    system,
    linkedKernel(view),
  );

  const result = { files: new Map<string, string>(), booted: [] as BootedKernel[] };
  const lines: string[] = [];
  const warnings: string[] = [];
  for (const old of onMedium) {
    const version = chosen.get(old.version);
    const replacement = version === undefined ? undefined : after.get(version);
    if (version !== undefined && replacement !== undefined) {
      const outcome = await replace(old, version, replacement, { ...options, medium, viewBefore, view });
      if (typeof outcome !== 'string') {
        for (const [path, file] of outcome.files) result.files.set(path, file);
        result.booted.push({ version, kernels: old.kernels, initrds: old.initrds });
        lines.push(`the medium boots the kernel ${plain(version)} of its new live system`);
        warnings.push(...outcome.warnings);
        continue;
      }
      warnings.push(`the medium goes on booting the kernel that it has, ${nameOf(old)}: ${plain(outcome)}`);
    }
    if (old.version !== null && gone.includes(old.version)) {
      warnings.push(`the medium boots the kernel ${nameOf(old)}, which the packages have removed from its live system`);
    }
  }
  const unused = system.filter(({ isNew, version }) => isNew && ![...chosen.values()].includes(version));
  for (const { version } of unused) {
    const why = onMedium.length === 0 ? ': its boot menus start no kernel of a live system that is known here' : '';
    warnings.push(`the new kernel ${plain(version)} is none that the medium boots${why}`);
  }
  return { ...result, lines, warnings };
}

function nameOf({ version, kernels }: MediumKernel): string {
  return plain(version ?? `/${kernels[0]}`);
}

interface Replacing extends NewKernelOptions {
  readonly medium: FileHandle;
  readonly viewBefore: LayerView;
  readonly view: LayerView;
}

interface Replacement {
  readonly files: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

/** The new files of a kernel on the medium, or the reason why it has to stay. */
async function replace(
  old: MediumKernel,
  version: string,
  { kernel, initrd }: KernelFiles,
  options: Replacing,
): Promise<Replacement | string> {
  const { directory, limits } = options;
  if (initrd === null) return `the kernel ${version} of the live system has no initial ramdisk`;
  if (kernel.inode.sizeBytes > maximumKernelBytes || initrd.inode.sizeBytes > maximumInitrdBytes) {
    return `the kernel ${version} of the live system is larger than kernels are`;
  }
  const [kernelPath, initrdPath] = ['kernel', 'initrd'].map((name) => join(directory, `${name}-${version}`)) as [
    string,
    string,
  ];
  await using kernelFile = await open(kernelPath, 'wx+');
  await copyFromView(kernel, kernelFile, maximumKernelBytes, limits);
  await using initrdFile = await open(initrdPath, 'wx+');
  await copyFromView(initrd, initrdFile, maximumInitrdBytes, limits);

  const kernelPlace = { offset: 0, sizeBytes: kernel.inode.sizeBytes };
  const { version: written, isSigned } = await readKernelFile(kernelFile, kernelPlace, limits.signal);
  if (written !== null && written !== version) return `/boot/vmlinuz-${version} is the kernel ${written}`;
  const initrdPlace = { offset: 0, sizeBytes: initrd.inode.sizeBytes };
  const live = await readLiveInitrd(initrdFile, initrdPlace, { ...limits, workDirectory: directory });
  const fault = unfitness(live, version, old) ?? (await lostDriversOf(live, version, old, options));
  if (fault !== null) return `the initial ramdisk of the kernel ${version} ${fault}`;

  const files = new Map<string, string>();
  await linkAll(kernelPath, old.kernels, files);
  await linkAll(initrdPath, old.initrds, files);
  if (live.uuid !== null && live.uuid !== old.initrd.uuid) {
    const path = join(directory, `medium-id-${version}`);
    await writeFile(path, `${live.uuid}\n`);
    await linkAll(path, await idPaths(old.initrd, version, options), files);
  }
  const warnings =
    old.isSigned && !isSigned
      ? [`the medium boots the kernel ${version}, which has no signature: machines with Secure Boot refuse it`]
      : [];
  return { files, warnings };
}

/** The reason why an initial ramdisk cannot start the live system of a medium; null where it can. */
function unfitness(live: LiveInitrd, version: string, { initrd: old }: MediumKernel): string | null {
  if (live.damage !== null) return `is not whole: ${live.damage}`;
  if (live.unknown !== null) return `was not looked into: ${live.unknown}`;
  if (live.program !== old.program) {
    return `has no ${old.program}, which starts the live system: is the package in the layer that got the change?`;
  }
  if (!live.kernels.has(version)) return 'has no modules of that kernel';
  if (live.topLayer === old.topLayer) return null;
  const [layers, wanted] = [live, old].map(({ topLayer }) => (topLayer === null ? 'all layers' : `/${topLayer}`));
  return `starts with ${layers} instead of ${wanted}`;
}

async function lostDriversOf(
  { modules }: LiveInitrd,
  version: string,
  old: MediumKernel,
  { view, viewBefore }: Replacing,
): Promise<string | null> {
  const known = await modulesOf(view, version);
  if (known === null) return null;
  const builtIn = old.version === null ? null : ((await modulesOf(viewBefore, old.version))?.builtIn ?? null);
  const lost = lostLiveDrivers(known, modules, new Set([...old.initrd.modules, ...(builtIn ?? [])]));
  return lost.length === 0 ? null : `lacks drivers that the one on the medium has: ${lost.join(', ')}`;
}

/** One file of the worker becomes several of the medium. */
async function linkAll(file: string, paths: readonly string[], files: Map<string, string>): Promise<void> {
  for (const [index, path] of paths.entries()) {
    const name = index === 0 ? file : `${file}-${index}`;
    if (index > 0) await link(file, name);
    files.set(path, name);
  }
}

/**
 * The files by which the old initial ramdisk knew its medium. Any name with their beginning will do, so a medium without
 * one gets a further one.
 */
async function idPaths(old: LiveInitrd, version: string, { medium, files }: Replacing): Promise<string[]> {
  const { prefix, ids } = await readMediumIds(medium, files, old.program ?? 'casper');
  const found = [...ids].filter(([, id]) => id === old.uuid).map(([path]) => path);
  return found.length > 0 ? found : [`${prefix}-${version}`];
}
