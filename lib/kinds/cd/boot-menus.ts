import type { FileHandle } from 'node:fs/promises';
import { parseGrubConfig } from '../../boot/grub-config.ts';
import { parseExtlinux, parseLoaderEntry } from '../../boot/loader-entries.ts';
import { followPath } from '../../iso9660/follow.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';

/** An entry of a boot menu that starts Linux. Paths are on the medium, without a leading slash. */
export interface MenuEntry {
  readonly kernel: string;
  readonly initrds: readonly string[];
  /** The kernel's command line. */
  readonly words: readonly string[];
}

/** A kernel that boot menus of a medium start, with all entries of it taken together. */
export interface MenuKernel {
  readonly kernel: string;
  readonly initrds: readonly string[];
  /** True where each entry says `boot=` on the kernel's command line, and so which system starts. */
  readonly saysSystem: boolean;
  /** The uppermost layers that entries say (`layerfs-path=` of casper); null among them for an entry that says none. */
  readonly topLayers: readonly (string | null)[];
}

/** Menus have some KB; the files of a package pool are none. */
const maximumMenuBytes = 256 * 1024;
const maximumMenus = 500;
const loaderEntry = /(?:^|\/)loader\/entries\/[^/]+\.conf$/i;
const menuName = /^(?!pool\/|dists\/).*\.(?:cfg|conf)$/i;

/**
 * The entries of the menus of GRUB, isolinux and systemd-boot. All files that may be menus are read, whichever of them includes another.
 * Kernels and initial ramdisks that are not on the medium are left out.
 */
export async function readMenuEntries(handle: FileHandle, files: IsoTree): Promise<MenuEntry[]> {
  const menus = [...files].filter(([path, { type, sizeBytes }]) => {
    return type === 'file' && sizeBytes <= maximumMenuBytes && menuName.test(path);
  });
  const found: MenuEntry[] = [];
  for (const [path] of menus.slice(0, maximumMenus)) {
    const text = (await readIsoFile(handle, files, path, maximumMenuBytes))?.toString('utf8') ?? '';
    for (const { kernel, initrds, words } of entriesIn(text, path)) {
      const kernelPath = followPath(files, kernel);
      if (kernelPath === null) continue;
      found.push({ kernel: kernelPath, initrds: initrds.flatMap((initrd) => followPath(files, initrd) ?? []), words });
    }
  }
  return found;
}

/** The kernels that the menus start. Throws as `readMenuEntries` does. */
export async function readMenuKernels(handle: FileHandle, files: IsoTree): Promise<MenuKernel[]> {
  const found = new Map<string, MenuEntry[]>();
  for (const entry of await readMenuEntries(handle, files)) {
    const known = found.get(entry.kernel) ?? [];
    known.push(entry);
    found.set(entry.kernel, known);
  }
  return [...found].map(([kernel, entries]) => ({
    kernel,
    initrds: [...new Set(entries.flatMap(({ initrds }) => initrds))],
    saysSystem: entries.every(({ words }) => lastValue(words, 'boot') !== null),
    topLayers: [...new Set(entries.map(({ words }) => topLayerIn(words)))],
  }));
}

/** The file name in `layerfs-path=`, which casper takes with a path, too; null where the words do not say it. */
export function topLayerIn(words: readonly string[]): string | null {
  return lastValue(words, 'layerfs-path')?.split('/').at(-1) || null;
}

/** The value that a command line gives last; null where it gives none, or one that GRUB makes up while it runs. */
export function lastValue(words: readonly string[], name: string): string | null {
  const value = words.findLast((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
  return value === undefined || value.includes('$') ? null : value;
}

/** Neither GRUB's menus nor isolinux's have entries for the other; each file of systemd-boot is one. */
function entriesIn(text: string, path: string): MenuEntry[] {
  if (loaderEntry.test(path)) {
    const { kernel, initrds, ...rest } = parseLoaderEntry(text);
    return kernel === null ? [] : [{ kernel, initrds, words: rest.arguments }];
  }
  const folder = path.includes('/') ? `/${path.slice(0, path.lastIndexOf('/'))}` : '';
  const grub = parseGrubConfig(text).entries.map(({ kernel, initrds, ...rest }) => {
    return { kernel: kernel.path, initrds: initrds.map((each) => each.path), words: rest.arguments };
  });
  const others = parseExtlinux(text, folder).flatMap(({ kernel, initrds, ...rest }) => {
    return kernel === null ? [] : [{ kernel, initrds, words: rest.arguments }];
  });
  return [...grub, ...others];
}
