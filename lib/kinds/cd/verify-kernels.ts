import type { FileHandle } from 'node:fs/promises';
import type { InitrdOptions } from '../../boot/initrd.ts';
import { readKernelFile } from '../../boot/kernel-file.ts';
import { readLiveInitrd } from '../../boot/live-initrd.ts';
import { ImageBuilderError } from '../../errors.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { plain } from '../../text.ts';
import { placeOn, readMediumIds } from './medium-kernels.ts';
import type { BootedKernel } from './new-kernel.ts';

/**
 * Throws `image.output` unless each kernel that a new medium got is the one that it should be, its initial ramdisk has its
 * modules, and accepts the medium.
 */
export async function checkBootedKernels(
  handle: FileHandle,
  files: IsoTree,
  booted: readonly BootedKernel[],
  options: InitrdOptions,
): Promise<void> {
  for (const { version, kernels, initrds } of booted) {
    for (const path of kernels) {
      const place = placeOn(files, path);
      const file = place === null ? null : await readKernelFile(handle, place, options.signal);
      if (file === null || (file.version ?? version) !== version) throw unbootable(path, version);
    }
    for (const path of initrds) {
      const place = placeOn(files, path);
      const live = place === null ? null : await readLiveInitrd(handle, place, options);
      if (live === null || live.program === null || live.damage !== null || !live.kernels.has(version)) {
        throw unbootable(path, version);
      }
      const { ids } = await readMediumIds(handle, files, live.program);
      if (live.uuid !== null && ![...ids.values()].includes(live.uuid)) throw unbootable(path, version);
    }
  }
}

function unbootable(path: string, version: string): ImageBuilderError {
  return new ImageBuilderError('image.output', `/${path} of the new medium cannot start its kernel ${plain(version)}`);
}
