import { isEsp, type Partition } from '../image/partition.ts';
import type { BootFault } from './fault.ts';
import { type GrubPath, parseGrubConfig, parsePrefix } from './grub-config.ts';
import type { GrubImage } from './grub-image.ts';
import { describeDevice, partitionOf } from './menus.ts';
import { hasContent, mountOf } from './tree.ts';
import type { BootView } from './view.ts';

/** Faults of the boot loaders themselves: whether they can read the partition table and find their menu. */
export function loaderFaults(view: BootView): BootFault[] {
  const faults: BootFault[] = [];
  if (view.onDisk.bios !== null)
    faults.push(...grubFaults(view, 'the boot loader for BIOS', view.onDisk.bios, 'i386-pc'));
  for (const [path, { grub, isShim }] of view.efiLoaders) {
    if (isShim) faults.push(...shimFaults(view, path));
    else if (grub !== null) faults.push(...efiFaults(view, path, grub));
  }
  const esp = view.tree.mounts.find(({ partition }) => isEsp(partition));
  if (esp !== undefined && view.efiLoaders.size === 0) {
    faults.push({ id: 'esp-empty', message: `no boot loader that is known here is left in ${esp.target}` });
  }
  return faults;
}

/** Shim starts the GRUB beside it, or, as the loader of removable disks, the program that looks for others. */
function shimFaults({ tree }: BootView, path: string): BootFault[] {
  const folder = path.slice(0, path.lastIndexOf('/'));
  const names = tree.namesIn(folder).map((name) => name.toLowerCase());
  if (names.some((name) => /^(?:grub|fb)(?:x64|aa64|ia32|arm|riscv64)\.efi$/.test(name))) return [];
  return [{ id: `shim:${path}`, message: `${path} is a shim, but no GRUB lies beside it` }];
}

/** A signed GRUB goes on with the grub.cfg of its own folder on the EFI system partition. */
function efiFaults(view: BootView, path: string, grub: GrubImage): BootFault[] {
  const { prefix, configuration } = grub;
  if (prefix === null || !/^\/EFI\//i.test(prefix) || configuration !== '') {
    return grubFaults(view, path, grub, /x64\.efi$/i.test(path) ? 'x86_64-efi' : null);
  }
  const mount = mountOf(view.tree, path);
  if (mount === null) return [];
  const stub = view.tree.findOn(mount.partition, withSameCase(view, mount.partition, `${prefix}/grub.cfg`));
  const text = typeof stub === 'object' ? view.texts.get(stub.path) : undefined;
  if (stub === 'missing' || text === '') {
    return [
      { id: `stub:${path}`, message: `${path} looks for ${prefix}/grub.cfg on its own partition, which is not there` },
    ];
  }
  if (text === undefined) return [];
  const { continues, entries } = parseGrubConfig(text);
  if (entries.length > 0 || continues === null) return moduleFaults(view, path, grub, null);
  const where = `${prefix}/grub.cfg, with which ${path} goes on,`;
  return [...moduleFaults(view, path, grub, bootPartition(view)), ...placeFaults(view, where, continues, null)];
}

/** FAT knows no case; the tree has the names as they were given. */
function withSameCase({ tree, texts }: BootView, partition: Partition, path: string): string {
  for (const known of texts.keys()) {
    const mount = mountOf(tree, known);
    if (mount?.partition !== partition) continue;
    const inside = mount.target === '/' ? known : known.slice(mount.target.length);
    if (inside.toLowerCase() === path.toLowerCase()) return inside;
  }
  return path;
}

function grubFaults(view: BootView, who: string, grub: GrubImage, target: string | null): BootFault[] {
  const { prefix, configuration, modules } = grub;
  let place: GrubPath | null = prefix === null ? null : parsePrefix(prefix);
  if (place !== null) place = { ...place, path: `${place.path}/grub.cfg` };
  const { continues, entries } = parseGrubConfig(`${configuration}\nconfigfile $prefix/grub.cfg`);
  if (entries.length > 0) place = null;
  // Its commands may have set another prefix.
  else if (continues !== null && !continues.path.includes('$')) place = continues;
  const boot = bootPartition(view);
  const faults = moduleFaults(view, who, grub, boot);
  return place === null ? faults : [...faults, ...placeFaults(view, who, place, modules.has('normal') ? null : target)];
}

function bootPartition(view: BootView): Partition | null {
  return mountOf(view.tree, '/boot/grub')?.partition ?? null;
}

const fileSystemModules: Readonly<Record<string, string>> = {
  ...{ ext2: 'ext2', ext3: 'ext2', ext4: 'ext2', vfat: 'fat', xfs: 'xfs', btrfs: 'btrfs', f2fs: 'f2fs' },
};

/** `boot` is null where the loader needs to read no partition but its own. */
function moduleFaults(view: BootView, who: string, { modules }: GrubImage, boot: Partition | null): BootFault[] {
  const faults: BootFault[] = [];
  const table = view.partitionTable === 'gpt' ? 'part_gpt' : view.partitionTable === 'mbr' ? 'part_msdos' : null;
  if (boot !== null && table !== null && !modules.has(table)) {
    faults.push({
      id: `part:${who}`,
      message: `${who} cannot read the partition table: its GRUB has no module ${table}`,
    });
  }
  const module = fileSystemModules[boot?.fileSystem?.type ?? ''];
  if (boot !== null && module !== undefined && !modules.has(module)) {
    faults.push({ id: `fs:${who}`, message: `${who} cannot read /boot: its GRUB has no module ${module}` });
  }
  return faults;
}

/** Faults of the place where a loader looks for its menu, and for its further modules, those of `target`. */
function placeFaults(view: BootView, who: string, place: GrubPath, target: string | null): BootFault[] {
  const { device, path } = place;
  if (device === null || path.includes('$')) return [];
  const partition = partitionOf(view, device);
  if (partition === 'missing') {
    return [
      { id: `place:${who}`, message: `${who} looks for ${describeDevice(device)}, which the image does not have` },
    ];
  }
  const boot = bootPartition(view);
  if (boot !== null && partition !== boot) {
    const message = `${who} reads partition ${partition.number}, but /boot is on partition ${boot.number}`;
    return view.kernels.map((version) => ({
      id: `elsewhere:${version}`,
      message: `${message}: it never sees the kernel ${version}`,
    }));
  }
  const found = view.tree.findOn(partition, path);
  if (found !== 'unknown' && !hasContent(found)) {
    return [
      {
        id: `config:${who}`,
        message: `${who} looks for ${path} on partition ${partition.number}, which is not there or is empty`,
      },
    ];
  }
  if (target === null) return [];
  const module = `${path.slice(0, path.lastIndexOf('/'))}/${target}/normal.mod`;
  if (view.tree.findOn(partition, module) !== 'missing') return [];
  return [{ id: `modules:${who}`, message: `${who} looks for its modules in ${module}, which is not there` }];
}
