import type { FileHandle } from 'node:fs/promises';
import { parseGrubConfig } from '../../boot/grub-config.ts';
import { parseExtlinux } from '../../boot/loader-entries.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';

/** A kernel that a boot menu of a medium starts, and its initial ramdisks. Paths on the medium, without a leading slash. */
export interface MenuKernel {
  readonly kernel: string;
  readonly initrds: readonly string[];
}

/** Menus have some KB; the files of a package pool are none. */
const maximumMenuBytes = 256 * 1024;
const maximumMenus = 500;
const menuName = /^(?!pool\/|dists\/).*\.(?:cfg|conf)$/i;
const maximumLinks = 8;

/**
 * The kernels that GRUB's and isolinux's menus start. All files that may be menus are read, whichever of them includes
 * another. Kernels and initial ramdisks that are not on the medium are left out.
 */
export async function readMenuKernels(handle: FileHandle, files: IsoTree): Promise<MenuKernel[]> {
  const found = new Map<string, Set<string>>();
  const menus = [...files].filter(([path, { type, sizeBytes }]) => {
    return type === 'file' && sizeBytes <= maximumMenuBytes && menuName.test(path);
  });
  for (const [path] of menus.slice(0, maximumMenus)) {
    const text = (await readIsoFile(handle, files, path, maximumMenuBytes))?.toString('utf8') ?? '';
    for (const { kernel, initrds } of kernelsIn(text, path)) {
      const kernelPath = resolve(files, kernel);
      if (kernelPath === null) continue;
      const paths = found.get(kernelPath) ?? new Set();
      for (const initrd of initrds) {
        const initrdPath = resolve(files, initrd);
        if (initrdPath !== null) paths.add(initrdPath);
      }
      found.set(kernelPath, paths);
    }
  }
  return [...found].map(([kernel, initrds]) => ({ kernel, initrds: [...initrds] }));
}

/** Neither of the two finds entries in a menu of the other. */
function kernelsIn(text: string, path: string): MenuKernel[] {
  const folder = path.includes('/') ? `/${path.slice(0, path.lastIndexOf('/'))}` : '';
  const { entries } = parseGrubConfig(text);
  return [
    ...entries.map(({ kernel, initrds }) => ({ kernel: kernel.path, initrds: initrds.map((each) => each.path) })),
    ...parseExtlinux(text, folder).flatMap(({ kernel, initrds }) => (kernel === null ? [] : [{ kernel, initrds }])),
  ];
}

/** The file that a path means, behind symbolic links of Rock Ridge; null where there is none. */
function resolve(files: IsoTree, path: string): string | null {
  let wanted = normal(path);
  for (let links = 0; links <= maximumLinks; links++) {
    const entry = files.get(wanted);
    if (entry?.type === 'file') return wanted;
    if (entry?.type !== 'link' || entry.target === null) return null;
    const folder = wanted.slice(0, wanted.lastIndexOf('/') + 1);
    wanted = normal(entry.target.startsWith('/') ? entry.target : folder + entry.target);
  }
  return null;
}

function normal(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}
