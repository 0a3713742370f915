import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { type KernelFile, readKernelFile } from '../../boot/kernel-file.ts';
import { type LiveInitrd, type LiveProgram, readLiveInitrd } from '../../boot/live-initrd.ts';
import { readAt } from '../../image/read-at.ts';
import type { Range } from '../../image/unwrap/decompress.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import { contentOf, type ShownFile } from '../../squashfs/view-files.ts';
import { readMenuKernels } from './boot-menus.ts';

/** A kernel by which a medium starts its live system. */
export interface MediumKernel {
  /** Null where no file of it shows the version. */
  readonly version: string | null;
  /** Its paths on the medium: some media have it twice, for BIOS and for UEFI. */
  readonly kernels: readonly string[];
  /** Paths of the initial ramdisks of the live system that it is started with. */
  readonly initrds: readonly string[];
  /** The first of these. */
  readonly initrd: LiveInitrd;
  /** File name of the uppermost layer of the system that it starts; null where only casper's own rule says it. */
  readonly topLayer: string | null;
  /** True where each entry of the menus that starts it says that layer, whatever its initial ramdisk says. */
  readonly saysLayers: boolean;
  /** True where these start different live systems, so that no new one serves in place of all. */
  readonly isMixed: boolean;
  readonly isSigned: boolean;
  /** True where each entry of the menus that starts it says by `boot=` that the live system is to start. */
  readonly saysSystem: boolean;
}

/** More than media have: each initial ramdisk is unpacked to be looked into. */
const mostKernels = 16;
const mostInitrds = 16;

export interface MediumKernelOptions {
  readonly limits: SquashfsLimits;
  /** An existing folder that only this build uses. */
  readonly directory: string;
  /** Kernels of the live system by their versions, for those whose file does not show it. */
  readonly known: ReadonlyMap<string, ShownFile>;
}

/**
 * The kernels in the boot menus of a medium that start its live system, by the initial ramdisks that they are started with:
 * kernels of installers, and programs such as memtest86+, are none. Throws as `readLiveInitrd` does.
 */
export async function readMediumKernels(
  handle: FileHandle,
  files: IsoTree,
  { limits, directory, known: inSystem }: MediumKernelOptions,
): Promise<MediumKernel[]> {
  const { signal } = limits;
  const initrds = new Map<string, LiveInitrd>();
  const found = new Map<string, MediumKernel>();
  for (const menu of (await readMenuKernels(handle, files)).slice(0, mostKernels)) {
    signal.throwIfAborted();
    const live: string[] = [];
    for (const path of menu.initrds) {
      const place = placeOn(files, path);
      if (place === null || (initrds.size >= mostInitrds && !initrds.has(path))) continue;
      const initrd =
        initrds.get(path) ?? (await readLiveInitrd(handle, place, { ...limits, workDirectory: directory }));
      initrds.set(path, initrd);
      if (initrd.program !== null) live.push(path);
    }
    const place = placeOn(files, menu.kernel);
    const [first, ...others] = live.flatMap((path) => initrds.get(path) ?? []);
    if (place === null || first === undefined) continue;
    const tops = new Set(
      menu.topLayers.map((top) => top ?? (first.topLayer === null ? null : basename(first.topLayer))),
    );
    const [topLayer = null] = tops;
    const isMixed =
      tops.size > 1 || others.some(({ program, topLayer }) => program !== first.program || topLayer !== first.topLayer);
    const file: KernelFile = await readKernelFile(handle, place, signal);
    const version = file.version ?? (await recognise(handle, place, inSystem, limits));
    const key = `${version ?? menu.kernel} ${topLayer}`;
    const known = found.get(key);
    found.set(key, {
      version,
      kernels: [...(known?.kernels ?? []), menu.kernel],
      initrds: [...new Set([...(known?.initrds ?? []), ...live])],
      initrd: known?.initrd ?? first,
      topLayer,
      saysLayers: known?.saysLayers !== false && !menu.topLayers.includes(null),
      isMixed: known?.isMixed === true || isMixed,
      isSigned: known?.isSigned === true || file.isSigned,
      saysSystem: known?.saysSystem !== false && menu.saysSystem,
    });
  }
  return [...found.values()];
}

/** The version of the kernel that has the same bytes; null for none. */
async function recognise(
  handle: FileHandle,
  { offset, sizeBytes }: Range,
  inSystem: ReadonlyMap<string, ShownFile>,
  limits: SquashfsLimits,
): Promise<string | null> {
  for (const [version, kernel] of inSystem) {
    if (kernel.inode.sizeBytes !== sizeBytes) continue;
    let at = offset;
    let isSame = true;
    for await (const piece of contentOf(kernel, limits)) {
      isSame = piece.equals(await readAt(handle, at, piece.length));
      if (!isSame) break;
      at += piece.length;
    }
    if (isSame) return version;
  }
  return null;
}

/** Where a file lies in a medium; null where it does not lie there in one piece, as it is. */
export function placeOn(files: IsoTree, path: string): Range | null {
  const entry = files.get(path);
  const [run, ...more] = entry?.extents ?? [];
  if (entry?.type !== 'file' || entry.encoding !== null || run === undefined || more.length > 0) return null;
  return { offset: run.offsetBytes, sizeBytes: run.sizeBytes };
}

/** Beginnings of the names of the files that hold the ids of a medium (`matches_uuid` of casper and of live-boot). */
const idPrefixes: Readonly<Record<LiveProgram, string>> = {
  casper: '.disk/casper-uuid',
  'live-boot': '.disk/live-uuid',
  // It knows its medium by the volume id, and has no such file.
  'dracut-live': '.disk/live-uuid',
};
const maximumIdBytes = 4096;

/** The ids of a medium, by the paths of their files; each initial ramdisk of the live system needs one of them. */
export async function readMediumIds(
  handle: FileHandle,
  files: IsoTree,
  program: LiveProgram,
): Promise<{ readonly prefix: string; readonly ids: ReadonlyMap<string, string> }> {
  const prefix = idPrefixes[program];
  const ids = new Map<string, string>();
  for (const [path, { sizeBytes }] of files) {
    if (!path.startsWith(prefix) || sizeBytes > maximumIdBytes) continue;
    const bytes = await readIsoFile(handle, files, path, maximumIdBytes);
    if (bytes !== null) ids.set(path, bytes.toString('utf8').trim());
  }
  return { prefix, ids };
}
