import type { FileHandle } from 'node:fs/promises';
import { parseGrubConfig } from '../../boot/grub-config.ts';
import { parseExtlinux } from '../../boot/loader-entries.ts';
import { followPath } from '../../iso9660/follow.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';

/** A kernel that a boot menu of a medium starts, and its initial ramdisks. Paths on the medium, without a leading slash. */
export interface MenuKernel {
  readonly kernel: string;
  readonly initrds: readonly string[];
  /** True where each entry says `boot=` on the kernel's command line, and so which system starts. */
  readonly saysSystem: boolean;
}

/** Menus have some KB; the files of a package pool are none. */
const maximumMenuBytes = 256 * 1024;
const maximumMenus = 500;
const menuName = /^(?!pool\/|dists\/).*\.(?:cfg|conf)$/i;

/**
 * The kernels that GRUB's and isolinux's menus start. All files that may be menus are read, whichever of them includes
 * another. Kernels and initial ramdisks that are not on the medium are left out.
 */
export async function readMenuKernels(handle: FileHandle, files: IsoTree): Promise<MenuKernel[]> {
  const found = new Map<string, { readonly initrds: Set<string>; saysSystem: boolean }>();
  const menus = [...files].filter(([path, { type, sizeBytes }]) => {
    return type === 'file' && sizeBytes <= maximumMenuBytes && menuName.test(path);
  });
  for (const [path] of menus.slice(0, maximumMenus)) {
    const text = (await readIsoFile(handle, files, path, maximumMenuBytes))?.toString('utf8') ?? '';
    for (const { kernel, initrds, saysSystem } of kernelsIn(text, path)) {
      const kernelPath = followPath(files, kernel);
      if (kernelPath === null) continue;
      const known = found.get(kernelPath) ?? { initrds: new Set(), saysSystem: true };
      for (const initrd of initrds) {
        const initrdPath = followPath(files, initrd);
        if (initrdPath !== null) known.initrds.add(initrdPath);
      }
      known.saysSystem &&= saysSystem;
      found.set(kernelPath, known);
    }
  }
  return [...found].map(([kernel, { initrds, saysSystem }]) => ({ kernel, initrds: [...initrds], saysSystem }));
}

/** Neither of the two finds entries in a menu of the other. */
function kernelsIn(text: string, path: string): MenuKernel[] {
  const folder = path.includes('/') ? `/${path.slice(0, path.lastIndexOf('/'))}` : '';
  const grub = parseGrubConfig(text).entries.map(({ kernel, initrds, ...rest }) => {
    return { kernel: kernel.path, initrds: initrds.map((each) => each.path), words: rest.arguments };
  });
  const others = parseExtlinux(text, folder).map(({ kernel, initrds, ...rest }) => {
    return { kernel, initrds, words: rest.arguments };
  });
  return [...grub, ...others].flatMap(({ kernel, initrds, words }) => {
    const saysSystem = words.some((word) => word.startsWith('boot='));
    return kernel === null ? [] : [{ kernel, initrds, saysSystem }];
  });
}
