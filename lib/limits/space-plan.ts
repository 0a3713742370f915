/** The bytes that a build writes to each folder, as far as can be said beforehand. */

export interface SpaceFolders {
  readonly work: string;
  readonly cache: string;
  /** Null where images go elsewhere than to a folder of this machine. */
  readonly store: string | null;
}

/** Bytes still to be written, by folder. */
export type Needs = Readonly<Record<'work' | 'cache' | 'store', number>>;

/** A base image as a file, and the disk that it holds. */
export interface BaseSize {
  readonly fileBytes: number;
  readonly diskBytes: number;
  /** Bytes that the finished image takes without any change: those of the file, or of the disk's data uncompressed. */
  readonly packedBytes: number;
  /** Bytes of other files of its release, which are stored beside the finished image as they are. Default: none. */
  readonly partBytes?: number;
}

export interface SpacePlan {
  /**
   * The base image is still to be downloaded, and with it so many bytes of other files of its release; null where its server
   * does not say how large it is.
   */
  beforeDownload(downloadBytes: number | null, partBytes?: number): Needs;
  /** The base image is there. `growthBytes` is apt's figure for the packages, null before apt has given it. */
  beforeChange(base: BaseSize, growthBytes: number | null): Needs;
  /** The overlay has its final size. */
  beforeRepack(base: BaseSize, overlayBytes: number): Needs;
  /** The new image has its final size. */
  beforeUpload(imageBytes: number): Needs;
}

/** The devices of the folders, by which a plan knows which files are copied from one to another. */
export interface SpaceDevices {
  readonly work: number;
  readonly cache: number;
  readonly store: number | null;
}

/**
 * Makes the plan of a kind of image. `scratchBytes` is the room that the guest may take beside the changes to the
 * image.
 */
export type SpacePlanner = (devices: SpaceDevices, scratchBytes: number) => SpacePlan;
