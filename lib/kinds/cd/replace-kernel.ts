import { type FileHandle, link, open, writeFile } from 'node:fs/promises';
import { lostLiveDrivers } from '../../boot/drivers.ts';
import { readKernelFile } from '../../boot/kernel-file.ts';
import { type LiveInitrd, readLiveInitrd } from '../../boot/live-initrd.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import type { LayerView } from '../../squashfs/thin/view.ts';
import { copyFromView } from '../../squashfs/view-files.ts';
import { quoted } from '../../text.ts';
import { type KernelFiles, maximumInitrdBytes, maximumKernelBytes, modulesOf } from './live-system.ts';
import { type MediumKernel, readMediumIds } from './medium-kernels.ts';

export interface ReplaceOptions {
  readonly medium: FileHandle;
  /** The files of the medium. */
  readonly files: IsoTree;
  /** A beginning of paths for files of the worker. */
  readonly place: string;
  /** An existing folder that only this build uses. */
  readonly directory: string;
  readonly limits: SquashfsLimits;
  /** The live system as it was, and as it is now. */
  readonly viewBefore: LayerView;
  readonly view: LayerView;
}

/** A UUID has 36. */
const maximumIdCharacters = 100;

export interface Replacement {
  /** Files of the worker by the paths that they get on the medium. */
  readonly files: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

/**
 * Writes the files by which the medium boots a kernel of its live system in the place of another; resolves with the reason
 * where that has to stay. Throws `image.corrupt`, `disk.full`, `tool.failed`, or the reason of the signal.
 */
export async function replaceKernel(
  old: MediumKernel,
  version: string,
  { kernel, initrd }: KernelFiles,
  options: ReplaceOptions,
): Promise<Replacement | string> {
  const { place, directory, limits } = options;
  if (old.isMixed) return 'its initial ramdisks start different live systems';
  if (initrd === null) return `the kernel ${version} of the live system has no initial ramdisk`;
  if (initrd.inode.sizeBytes > maximumInitrdBytes) {
    return `the initial ramdisk of the kernel ${version} has ${initrd.inode.sizeBytes} bytes, more than ${maximumInitrdBytes}`;
  }
  const [kernelPath, initrdPath] = [`${place}-kernel`, `${place}-initrd`];
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
    const path = `${place}-id`;
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
function unfitness(
  live: LiveInitrd,
  version: string,
  { initrd: old, saysSystem, saysLayers }: MediumKernel,
): string | null {
  if (live.damage !== null) return `is not whole: ${live.damage}`;
  if (live.unknown !== null) return `was not looked into: ${live.unknown}`;
  if (live.program !== old.program) {
    return `has no ${old.program}, which starts the live system: is the package in the layer that got the change?`;
  }
  if (!live.kernels.has(version)) return 'has no modules of that kernel';
  if ((live.uuid?.length ?? 0) > maximumIdCharacters) return 'has an id that is longer than ids are';
  if (old.isDefault && !live.isDefault && !saysSystem) {
    return 'starts the live system only where the boot menus ask for it, and they do not: CASPER_GENERATE_UUID was not set';
  }
  if (saysLayers || live.topLayer === old.topLayer) return null;
  const [layers, wanted] = [live, old].map(({ topLayer }) => (topLayer === null ? 'all layers' : quoted(topLayer)));
  return `starts with ${layers} instead of ${wanted}`;
}

async function lostDriversOf(
  { modules }: LiveInitrd,
  version: string,
  old: MediumKernel,
  { view, viewBefore }: ReplaceOptions,
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
async function idPaths(old: LiveInitrd, version: string, { medium, files }: ReplaceOptions): Promise<string[]> {
  const { prefix, ids } = await readMediumIds(medium, files, old.program ?? 'casper');
  const found = [...ids].filter(([, id]) => id === old.uuid).map(([path]) => path);
  return found.length > 0 ? found : [`${prefix}-${version}`];
}
