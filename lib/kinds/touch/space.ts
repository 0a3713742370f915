import type { Needs, SpaceDevices, SpacePlan } from '../../limits/space-plan.ts';

const MiB = 1024 * 1024;
/** The assumed size of the changes until apt reports it. */
const usualChangeBytes = 512 * MiB;
/** The assumed size of a root file system, as a multiple of its archive: gzip makes a third of it, xz a quarter. */
const unpackedRatio = 5;

/**
 * A plan for folders on these devices. The archive lies unpacked in the work folder twice, as a tar and as a file system, and
 * a third time when the finished one is checked. Changes are written in the overlay, as a tar, and in the finished archive.
 * `scratchBytes` is the room that the guest may take beside.
 */
export function planSpace(devices: SpaceDevices, scratchBytes: number): SpacePlan {
  const isCopied = devices.work !== devices.cache;
  const isStored = devices.store !== null && devices.store !== devices.work;
  const needs = (work: number, cache: number, image: number): Needs => ({ work, cache, store: isStored ? image : 0 });
  const packing = (packedBytes: number, changedBytes: number) =>
    (1 + unpackedRatio) * (packedBytes + changedBytes) + changedBytes;
  return {
    beforeDownload(downloadBytes) {
      const base = downloadBytes ?? 0;
      const unpacked = 2 * unpackedRatio * base;
      const work = (isCopied ? base : 0) + unpacked + scratchBytes + usualChangeBytes + packing(base, usualChangeBytes);
      return needs(work, base, base + usualChangeBytes);
    },
    beforeChange({ packedBytes }, growthBytes) {
      const changes = Math.max(usualChangeBytes, Math.ceil((growthBytes ?? 0) * 1.5));
      const work = unpackedRatio * packedBytes + scratchBytes + changes + packing(packedBytes, changes);
      return needs(work, 0, packedBytes + changes);
    },
    beforeRepack: (packedBytes, changedBytes) =>
      needs(packing(packedBytes, changedBytes), 0, packedBytes + changedBytes),
    beforeUpload: (imageBytes) => needs(0, 0, imageBytes),
  };
}
