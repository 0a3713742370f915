import type { Needs, SpaceDevices, SpacePlan } from '../../limits/space-plan.ts';

const MiB = 1024 * 1024;
/** The assumed size of the changes until apt reports it. */
const usualChangeBytes = 512 * MiB;
/** The assumed size of a root file system, as a multiple of its archive: gzip makes a third of it, xz a quarter. */
const unpackedRatio = 5;

/**
 * A plan for folders on these devices. The archive lies unpacked in the work folder twice, as a tar and as a file system, and
 * a third time when the finished one is checked. Changes are written in the overlay, as a tar, and in the finished archive.
 * Other archives of a release are copied for the store.
 * `scratchBytes` is the room that the guest may take beside.
 */
export function planSpace(devices: SpaceDevices, scratchBytes: number): SpacePlan {
  const isCopied = devices.work !== devices.cache;
  const isStored = devices.store !== null && devices.store !== devices.work;
  const needs = (work: number, cache: number, image: number): Needs => ({ work, cache, store: isStored ? image : 0 });
  const packing = (packedBytes: number, changedBytes: number) =>
    (1 + unpackedRatio) * (packedBytes + changedBytes) + changedBytes;
  return {
    beforeDownload(downloadBytes, partBytes = 0) {
      const base = downloadBytes ?? 0;
      const unpacked = 2 * unpackedRatio * base;
      const copied = (isCopied ? base + partBytes : 0) + partBytes;
      const work = copied + unpacked + scratchBytes + usualChangeBytes + packing(base, usualChangeBytes);
      return needs(work, base + partBytes, base + usualChangeBytes + partBytes);
    },
    beforeChange({ packedBytes, partBytes = 0 }, growthBytes) {
      const changes = Math.max(usualChangeBytes, Math.ceil((growthBytes ?? 0) * 1.5));
      const work = unpackedRatio * packedBytes + scratchBytes + changes + packing(packedBytes, changes) + partBytes;
      return needs(work, 0, packedBytes + changes + partBytes);
    },
    beforeRepack: ({ packedBytes, partBytes = 0 }, changedBytes) =>
      needs(packing(packedBytes, changedBytes) + partBytes, 0, packedBytes + changedBytes + partBytes),
    beforeUpload: (imageBytes) => needs(0, 0, imageBytes),
  };
}
