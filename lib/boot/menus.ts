import { matchFstabSpec } from '../image/layout.ts';
import type { Partition } from '../image/partition.ts';
import { lackingAnywhere } from './drivers.ts';
import type { BootFault } from './fault.ts';
import { defaultEntry, type GrubConfig, type GrubDevice, type GrubPath, parseGrubConfig } from './grub-config.ts';
import { parseExtlinux, parseLoaderEntry } from './loader-entries.ts';
import { type Found, hasContent, mountOf } from './tree.ts';
import type { BootView } from './view.ts';

/** Faults of the menus from which boot loaders start kernels. */

/** An entry of any menu, its files as the boot loader would find them. */
interface Entry {
  readonly kernel: Found;
  /** As the menu has it. */
  readonly kernelPath: string;
  readonly files: readonly { readonly path: string; readonly found: Found }[];
  readonly arguments: readonly string[];
  readonly initrds: number;
  /** A file system that the entry looks for and the image does not have; null where there is none. */
  readonly strange: string | null;
}

interface Menu {
  readonly path: string;
  readonly entries: readonly Entry[];
  readonly chosen: Entry | null;
  /** True where every kernel in /boot should have an entry, since a program writes the menu anew with each. */
  readonly isGenerated: boolean;
}

export interface MenuFaults {
  readonly faults: readonly BootFault[];
  /** Menus that were looked into. */
  readonly paths: readonly string[];
  /** Parts that were not checked, in words. */
  readonly unchecked: readonly string[];
  /** Path, in the image, of the kernel that starts by itself; null where that is not known. */
  readonly kernel: string | null;
}

export function menuFaults(view: BootView): MenuFaults {
  const unchecked: string[] = [];
  const menus = readMenus(view, unchecked);
  const faults = menus.flatMap((menu) => faultsOf(view, menu));
  const chosen = menus.length === 1 ? (menus[0]?.chosen?.kernel ?? null) : null;
  const kernel = chosen !== null && typeof chosen === 'object' ? chosen.path : null;
  return { faults, paths: menus.map(({ path }) => path), unchecked, kernel };
}

function readMenus(view: BootView, unchecked: string[]): Menu[] {
  const menus: Menu[] = [];
  const loaderEntries: Entry[] = [];
  for (const [path, text] of view.texts) {
    if (/^\/boot\/grub2?\/grub\.cfg$/.test(path)) {
      const config = parseGrubConfig(text);
      if (config.usesLoaderEntries)
        unchecked.push(`${path} takes its entries from files that were looked into by themselves`);
      else menus.push(grubMenu(view, path, config));
    } else if (/\/loader\/entries\/[^/]*\.conf$/.test(path)) {
      const { kernel, initrds, arguments: words } = parseLoaderEntry(text);
      if (kernel !== null) loaderEntries.push(plainEntry(view, path, kernel, initrds, words));
    } else if (/\/(?:extlinux\.conf|syslinux\.cfg)$/i.test(path)) {
      const folder = path.slice(0, path.lastIndexOf('/'));
      const mount = mountOf(view.tree, path);
      const inside = mount === null || mount.target === '/' ? folder : folder.slice(mount.target.length);
      const entries = parseExtlinux(text, inside)
        .filter(({ kernel }) => kernel !== null)
        .map((entry) => plainEntry(view, path, entry.kernel ?? '', entry.initrds, entry.arguments));
      if (entries.length > 0) menus.push({ path, entries, chosen: entries[0] ?? null, isGenerated: false });
    } else if (path.endsWith('/menu.lst')) {
      unchecked.push(`${path}, a menu of the first GRUB, is not checked`);
    }
  }
  if (loaderEntries.length > 0) {
    menus.push({ path: 'loader/entries', entries: loaderEntries, chosen: null, isGenerated: false });
  }
  return menus;
}

function grubMenu(view: BootView, path: string, config: GrubConfig): Menu {
  const own = mountOf(view.tree, path)?.partition ?? null;
  const entries = new Map(config.entries.map((entry) => [entry, grubEntry(view, own, entry)]));
  const chosen = defaultEntry(config);
  return {
    path,
    entries: [...entries.values()],
    chosen: chosen === null ? null : (entries.get(chosen) ?? null),
    isGenerated: config.generated,
  };
}

function grubEntry(view: BootView, own: Partition | null, entry: GrubConfig['entries'][number]): Entry {
  const find = ({ device, path }: GrubPath): Found => {
    const partition = device === null ? own : partitionOf(view, device);
    if (partition === null || partition === 'missing' || path.includes('$')) return 'unknown';
    return view.tree.findOn(partition, path);
  };
  const { kernel, initrds } = entry;
  const isStrange = kernel.device !== null && partitionOf(view, kernel.device) === 'missing';
  return {
    kernel: find(kernel),
    kernelPath: kernel.path,
    files: [kernel, ...initrds].map((file) => ({ path: file.path, found: find(file) })),
    arguments: entry.arguments,
    initrds: initrds.length,
    strange: isStrange && kernel.device !== null ? describeDevice(kernel.device) : null,
  };
}

function plainEntry(
  view: BootView,
  menu: string,
  kernel: string,
  initrds: readonly string[],
  words: readonly string[],
): Entry {
  const partition = mountOf(view.tree, menu)?.partition;
  const find = (path: string): Found => (partition === undefined ? 'unknown' : view.tree.findOn(partition, path));
  const files = [kernel, ...initrds].map((path) => ({ path, found: find(path) }));
  return { kernel: find(kernel), kernelPath: kernel, files, arguments: words, initrds: initrds.length, strange: null };
}

/** The partition that GRUB finds; `missing` where the image has none such, or more than one. */
export function partitionOf({ partitions }: Pick<BootView, 'partitions'>, device: GrubDevice): Partition | 'missing' {
  const fits = partitions.filter(({ number, fileSystem }) => {
    if (device.kind === 'partition') return number === device.number;
    if (device.kind === 'label') return fileSystem?.label === device.value;
    return fileSystem?.uuid?.toLowerCase() === device.value.toLowerCase();
  });
  return fits[0] ?? 'missing';
}

export function describeDevice(device: GrubDevice): string {
  if (device.kind === 'partition') return `partition ${device.number}`;
  return device.kind === 'uuid'
    ? `the file system with UUID ${device.value}`
    : `the file system labelled ${device.value}`;
}

function faultsOf(view: BootView, menu: Menu): BootFault[] {
  const { path, entries, chosen } = menu;
  const faults: BootFault[] = [];
  const usable = (entry: Entry) => entry.strange === null && (entry.kernel === 'unknown' || hasContent(entry.kernel));
  if (!entries.some(usable)) {
    const named =
      entries.length === 0 ? 'no entry for a kernel' : `no entry whose kernel exists (${entries[0]?.kernelPath})`;
    return [{ id: `menu-empty:${path}`, message: `${path} has ${named}` }];
  }
  const newest = view.kernels.at(-1);
  const important = new Set([chosen, entries.find((entry) => newest !== undefined && starts(entry, newest)) ?? null]);
  for (const entry of important) {
    if (entry !== null) for (const fault of entryFaults(view, menu, entry)) faults.push(fault);
  }
  for (const version of view.kernels) {
    if (entries.some((entry) => starts(entry, version))) continue;
    if (path === 'loader/entries') continue;
    faults.push({
      id: `menu-without:${version}`,
      message: `${path} has no entry for the kernel ${version}`,
      ...(menu.isGenerated ? {} : { isMinor: true }),
    });
  }
  return faults;
}

/** True where an entry starts the kernel of a version, perhaps by a link. */
function starts({ kernel, kernelPath }: Entry, version: string): boolean {
  const named = (path: string) => /\/(?:vmlinuz|vmlinux|kernel)-([^/]+)$/.exec(path)?.[1] === version;
  return named(kernelPath) || (typeof kernel === 'object' && named(kernel.path));
}

function entryFaults(view: BootView, { path }: Menu, entry: Entry): BootFault[] {
  const faults: BootFault[] = [];
  if (entry.strange !== null) {
    faults.push({
      id: `menu-device:${path}`,
      message: `${path} looks for ${entry.strange}, which the image does not have`,
    });
  }
  for (const { path: file, found } of entry.files) {
    if (found === 'unknown' || hasContent(found)) continue;
    faults.push({ id: `menu-file:${path}`, message: `${path} names ${file}, which is not there or is empty` });
  }
  const root = entry.arguments.findLast((word) => word.startsWith('root='))?.slice('root='.length);
  if (root !== undefined) faults.push(...rootFaults(view, path, root));
  return [...faults, ...unaided(view, path, entry, root)];
}

/** Forms of `root=` whose meaning the image alone decides. */
const decided =
  /^(?:(?:UUID|LABEL|PARTUUID|PARTLABEL)=|\/dev\/disk\/by-(?:uuid|label|partuuid|partlabel)\/|\/dev\/(?:vd|xvd)a\d+$)/;

function rootFaults(view: BootView, menu: string, spec: string): BootFault[] {
  if (!decided.test(spec) || spec.includes('$') || spec.includes('/PARTNROFF=')) return [];
  const isByPartUuid = /^(?:PARTUUID=|\/dev\/disk\/by-partuuid\/)/.test(spec);
  if (isByPartUuid && view.partitions.every(({ partitionUuid }) => partitionUuid === null)) return [];
  const root = view.tree.mounts.find(({ target }) => target === '/')?.partition;
  const named = matchFstabSpec(spec, view.partitions);
  if (root === undefined || named === root) return [];
  // Several file systems may fit.
  if (named === null && fitsRoot(spec, root)) return [];
  const which =
    named === null ? 'which the image does not have' : `which is partition ${named.number} and not the root`;
  return [{ id: `menu-root:${menu}`, message: `${menu} names the root file system by root=${spec}, ${which}` }];
}

function fitsRoot(spec: string, { fileSystem, partitionUuid, name }: Partition): boolean {
  const values = [fileSystem?.uuid, fileSystem?.label, partitionUuid, name];
  return values.some(
    (value) => value !== null && value !== undefined && spec.toLowerCase().endsWith(value.toLowerCase()),
  );
}

/** Only an initial ramdisk understands UUIDs and labels of file systems, and loads drivers. */
function unaided(view: BootView, menu: string, entry: Entry, root: string | undefined): BootFault[] {
  if (entry.initrds > 0 || root === undefined) return [];
  const version = view.kernels.find((each) => starts(entry, each));
  const modules = version === undefined ? undefined : view.modules.get(version);
  if (version === undefined || modules === undefined) return [];
  const fileSystem = view.tree.mounts.find(({ target }) => target === '/')?.partition.fileSystem?.type ?? null;
  const needsHelp = /^(?:UUID|LABEL)=/.test(root) || lackingAnywhere(modules, new Set(), fileSystem).length > 0;
  if (!needsHelp) return [];
  return [{ id: `menu-unaided:${menu}`, message: `${menu} starts the kernel ${version} without an initial ramdisk` }];
}
