/** What a build writes where, as far as can be told beforehand. */

export interface SpaceFolders {
  readonly work: string;
  readonly cache: string;
  /** Null where images go somewhere else than to a folder of this machine. */
  readonly store: string | null;
}

/** Bytes still to be written, by folder. */
export type Needs = Readonly<Record<'work' | 'cache' | 'store', number>>;

const MiB = 1024 * 1024;
/**
 * What is assumed of the changes to an image until apt tells: a handful of packages, with their files as they are
 * downloaded, package lists, and a new initial ramdisk.
 */
const usualChangeBytes = 512 * MiB;

/** A base image as a file, and the disk that it holds. */
export interface BaseSize {
  readonly fileBytes: number;
  readonly diskBytes: number;
}

export interface SpacePlan {
  /** The base image is still to be downloaded; null where its server does not tell how large it is. */
  beforeDownload(downloadBytes: number | null): Needs;
  /** The base image is there. `growthBytes` is what apt says that the packages take, null before it has. */
  beforeChange(base: BaseSize, growthBytes: number | null): Needs;
  /** The overlay has its final size. */
  beforeRepack(baseBytes: number, overlayBytes: number): Needs;
  /** The new image has its final size. */
  beforeUpload(imageBytes: number): Needs;
}

/**
 * A plan for folders on these devices. A base image is linked from the cache where both are one file system, and the
 * new image is renamed into the store; elsewhere they are copied. `scratchBytes` is what the guest may take beside.
 */
export function planSpace(
  devices: { work: number; cache: number; store: number | null },
  scratchBytes: number,
): SpacePlan {
  const isCopied = devices.work !== devices.cache;
  const isStored = devices.store !== null && devices.store !== devices.work;
  const needs = (work: number, cache: number, image: number): Needs => ({ work, cache, store: isStored ? image : 0 });
  return {
    beforeDownload(downloadBytes) {
      const base = downloadBytes ?? 0;
      const image = base + usualChangeBytes;
      return needs((isCopied ? base : 0) + scratchBytes + usualChangeBytes + image, base, image);
    },
    beforeChange({ fileBytes, diskBytes }, growthBytes) {
      // What is unpacked is written twice, as it is downloaded and as it is installed, and dpkg's own files come on top.
      const changes = Math.min(diskBytes, Math.max(usualChangeBytes, Math.ceil((growthBytes ?? 0) * 1.5)));
      return needs(scratchBytes + changes + fileBytes + changes, 0, fileBytes + changes);
    },
    beforeRepack: (baseBytes, overlayBytes) => needs(baseBytes + overlayBytes, 0, baseBytes + overlayBytes),
    beforeUpload: (imageBytes) => needs(0, 0, imageBytes),
  };
}
