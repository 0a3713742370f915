import type { IsoTree } from '../iso9660/tree.ts';
import { someOf } from '../text.ts';

/** How far a machine has booted from a medium, by the parts of it that the machine has read. */

export interface BootProgress {
  /** A machine reads these bytes of the medium. */
  onRead(offsetBytes: number, sizeBytes: number): void;
  /** The stage that is reached. Each one includes those before it. */
  readonly stage: BootStage;
  /** A clause for people: the last stage that was reached, and the next, which was not. */
  describe(): string;
}

/**
 * `begun`: firmware and boot loader run. `kernel`, `loaded`: the boot loader has read a kernel, and an initial ramdisk.
 * `opened`: the initial ramdisk has opened the system, whose first and last bytes are read for that.
 */
export type BootStage = 'begun' | 'kernel' | 'loaded' | 'opened';

const partBytes = 64 * 1024;
/** More kernels, initial ramdisks and layers than any medium has. */
const maximumFiles = 200;

interface Tracked {
  readonly path: string;
  readonly role: 'menu' | 'kernel' | 'initrd' | 'layer';
  readonly sizeBytes: number;
  /** Places on the medium, and where each begins in the file. */
  readonly runs: readonly { readonly offsetBytes: number; readonly sizeBytes: number; readonly at: number }[];
  readonly parts: Set<number>;
}

/** Paths of kernels and initial ramdisks, such as those that boot menus name. */
export interface BootFiles {
  readonly kernels: ReadonlySet<string>;
  readonly initrds: ReadonlySet<string>;
}

/** `files` are those of a medium. Beside those that are `known`, files with the usual names are kernels and initial ramdisks. */
export function followBoot(files: IsoTree, known: BootFiles): BootProgress {
  const tracked = trackedFiles(files, known);
  const has = (role: Tracked['role'], test: (file: Tracked) => boolean) =>
    tracked.some((file) => file.role === role && test(file));
  const read = (role: Tracked['role']) => named(tracked.filter((file) => file.role === role && file.parts.size > 0));
  let stage: BootStage = 'begun';
  return {
    onRead(offsetBytes, sizeBytes) {
      for (const file of tracked) {
        // Before the kernel runs, only a boot loader that lists folders gets near the layers.
        if (file.role === 'layer' && stage === 'begun') continue;
        mark(file, offsetBytes, sizeBytes);
      }
      if (stage === 'begun' && has('kernel', isWhole)) stage = 'kernel';
      if (stage === 'kernel' && has('initrd', isWhole)) stage = 'loaded';
      if (stage === 'loaded' && has('layer', hasEnds)) stage = 'opened';
    },
    get stage() {
      return stage;
    },
    describe() {
      if (stage === 'opened')
        return `its initial ramdisk has opened ${read('layer')}, and the system there does not start`;
      const layers = named(tracked.filter(({ role }) => role === 'layer'));
      if (stage === 'loaded') return `its initial ramdisk ${read('initrd')} has not opened the system ${layers}`;
      if (stage === 'kernel') return `its boot loader has loaded the kernel ${read('kernel')} and no initial ramdisk`;
      const menus = read('menu');
      return `its boot loader has loaded no kernel${menus === '' ? ', nor read a menu' : `, after it read ${menus}`}`;
    },
  };
}

function trackedFiles(files: IsoTree, known: BootFiles): Tracked[] {
  const found = [...files].flatMap(([path, { type, sizeBytes, extents }]): Tracked[] => {
    const role = type === 'file' ? roleOf(path, known) : null;
    if (role === null || sizeBytes === 0) return [];
    let at = 0;
    const runs = extents.map((extent) => {
      const run = { ...extent, at };
      at += extent.sizeBytes;
      return run;
    });
    return [{ path, role, sizeBytes, runs, parts: new Set() }];
  });
  const rank = ({ role }: Tracked) => ['kernel', 'initrd', 'layer', 'menu'].indexOf(role);
  return found.toSorted((one, other) => rank(one) - rank(other)).slice(0, maximumFiles);
}

/** By the names that every maker of live media gives them. Packages (`/pool`) have such names too. */
function roleOf(path: string, { kernels, initrds }: BootFiles): Tracked['role'] | null {
  if (kernels.has(path)) return 'kernel';
  if (initrds.has(path)) return 'initrd';
  if (/^(?:pool|dists)\//.test(path)) return null;
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  if (name.endsWith('.squashfs')) return 'layer';
  if (/(?:^|-)(?:initrd|initramfs)(?:$|[.\-_0-9])/.test(name)) return 'initrd';
  if (/(?:^|-)(?:vmlinuz|vmlinux|bzimage)(?:$|[.\-_0-9])|^linux$/.test(name)) return 'kernel';
  return /^(?:grub|isolinux|syslinux|txt|live|menu|loopback)\.cfg$/.test(name) ? 'menu' : null;
}

function mark({ runs, parts }: Tracked, offsetBytes: number, sizeBytes: number): void {
  for (const run of runs) {
    const start = Math.max(offsetBytes, run.offsetBytes);
    const end = Math.min(offsetBytes + sizeBytes, run.offsetBytes + run.sizeBytes);
    if (start >= end) continue;
    const first = Math.floor((run.at + start - run.offsetBytes) / partBytes);
    const last = Math.floor((run.at + end - 1 - run.offsetBytes) / partBytes);
    for (let part = first; part <= last; part += 1) parts.add(part);
  }
}

const lastPart = ({ sizeBytes }: Tracked): number => Math.floor((sizeBytes - 1) / partBytes);

/** Loaders may leave the filling at the end of a kernel unread. */
function isWhole(file: Tracked): boolean {
  return file.parts.size >= Math.max(1, lastPart(file));
}

/** The superblock at the beginning leads to tables at the end. */
function hasEnds(file: Tracked): boolean {
  return file.parts.has(0) && file.parts.has(lastPart(file));
}

function named(files: readonly Tracked[]): string {
  return someOf(files.map(({ path }) => `/${path}`));
}
