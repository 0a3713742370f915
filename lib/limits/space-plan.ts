/** The disk space that a build needs in each folder, as far as it is known beforehand. */

export interface SpaceFolders {
  readonly work: string;
  readonly cache: string;
  /** Null where images go somewhere else than to a folder of this machine. */
  readonly store: string | null;
}

/** Bytes still to be written, by folder. */
export type Needs = Readonly<Record<'work' | 'cache' | 'store', number>>;

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

/** The devices of the folders, by which a plan knows what is copied from one to another. */
export interface SpaceDevices {
  readonly work: number;
  readonly cache: number;
  readonly store: number | null;
}

/** Makes the plan of a kind of image. `scratchBytes` is what the guest may write beside the changes to the image. */
export type SpacePlanner = (devices: SpaceDevices, scratchBytes: number) => SpacePlan;
