import type { Needs, SpaceDevices, SpacePlan } from '../../limits/space-plan.ts';

const MiB = 1024 * 1024;
/** The assumed size of the changes to a medium until apt reports it. */
const usualChangeBytes = 512 * MiB;

/**
 * A plan for folders on these devices. Changes are written six times at most: in the overlay, as a tar, packed, and in the
 * new layer; a kernel and its initial ramdisk among them as files, and on the new medium. The new medium is a copy of the
 * base image; the file of a new layer has the changes only, but for one that is made compact (`packedBytesOf`). Of a change
 * that is repeated in further layers, all but the part that differs from the layers below is removed before the next.
 * `scratchBytes` is the room that the guest may take beside.
 */
export function planSpace(devices: SpaceDevices, scratchBytes: number): SpacePlan {
  const isCopied = devices.work !== devices.cache;
  const isStored = devices.store !== null && devices.store !== devices.work;
  const needs = (work: number, cache: number, image: number): Needs => ({ work, cache, store: isStored ? image : 0 });
  const packing = (packedBytes: number, changedBytes: number) => packedBytes + 6 * changedBytes;
  return {
    beforeDownload(downloadBytes) {
      const base = downloadBytes ?? 0;
      const work = (isCopied ? base : 0) + scratchBytes + usualChangeBytes + packing(base, usualChangeBytes);
      return needs(work, base, base + usualChangeBytes);
    },
    beforeChange({ diskBytes, packedBytes }, growthBytes) {
      const changes = Math.min(diskBytes, Math.max(usualChangeBytes, Math.ceil((growthBytes ?? 0) * 1.5)));
      return needs(scratchBytes + changes + packing(packedBytes, changes), 0, packedBytes + changes);
    },
    beforeRepack: ({ packedBytes }, changedBytes) =>
      needs(packing(packedBytes, changedBytes), 0, packedBytes + changedBytes),
    beforeUpload: (imageBytes) => needs(0, 0, imageBytes),
  };
}

/** Room for the finished medium and, where layers are made compact, for one of them in its old form and in its new one. */
export function packedBytesOf(fileBytes: number, isCompact: boolean): number {
  return isCompact ? 2 * fileBytes : fileBytes;
}
