import type { Needs, SpaceDevices, SpacePlan } from '../../limits/space-plan.ts';

const MiB = 1024 * 1024;
/**
 * The assumed size of the changes to an image until apt reports it: a handful of packages, with their files as they are
 * downloaded, package lists, and a new initial ramdisk.
 */
const usualChangeBytes = 512 * MiB;

/**
 * A plan for folders on these devices. A base image is linked from the cache where both are one file system, and the
 * new image is renamed into the store; elsewhere they are copied. `scratchBytes` is the room that the guest may take
 * beside.
 */
export function planSpace(devices: SpaceDevices, scratchBytes: number): SpacePlan {
  const isCopied = devices.work !== devices.cache;
  const isStored = devices.store !== null && devices.store !== devices.work;
  const needs = (work: number, cache: number, image: number): Needs => ({ work, cache, store: isStored ? image : 0 });
  return {
    beforeDownload(downloadBytes) {
      const base = downloadBytes ?? 0;
      const image = base + usualChangeBytes;
      return needs((isCopied ? base : 0) + scratchBytes + usualChangeBytes + image, base, image);
    },
    beforeChange({ diskBytes, packedBytes }, growthBytes) {
      // A package is written twice, as it is downloaded and as it is installed, and dpkg's own files come on top.
      const changes = Math.min(diskBytes, Math.max(usualChangeBytes, Math.ceil((growthBytes ?? 0) * 1.5)));
      return needs(scratchBytes + changes + packedBytes + changes, 0, packedBytes + changes);
    },
    beforeRepack: ({ packedBytes }, overlayBytes) => needs(packedBytes + overlayBytes, 0, packedBytes + overlayBytes),
    beforeUpload: (imageBytes) => needs(0, 0, imageBytes),
  };
}
