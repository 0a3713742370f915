import type { BuildStep } from '../api/event.ts';
import type { ImageResult } from '../api/image-result.ts';
import type { BuildRequest, OutputFormat } from '../api/request.ts';
import type { BootDisk } from '../boot/view.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import type { FetchedFile } from '../fetch/base-images.ts';
import type { WantedFile } from '../fetch/choose-image.ts';
import type { GuestDisk, GuestPlace } from '../guest/guest.ts';
import type { SealPart } from '../guest/seal.ts';
import type { TrialWay } from '../guest/vm/trial.ts';
import type { Firmware } from '../guest/vm/trial-machine.ts';
import type { CopiedContent } from '../image/qcow2/content.ts';
import type { BaseSize, SpacePlanner } from '../limits/space-plan.ts';
import type { IdRange } from '../privileges.ts';
import type { Artifacts, OnProgress } from '../store/artifact.ts';

/**
 * One kind of image: how it is inspected, opened for the guest, packed again and checked. Everything else (downloads,
 * PPAs and packages, progress, cancelling, limits, stores) is the same for all kinds.
 */
export interface ImageKind {
  /** The files that may be a base image of this kind. */
  readonly baseFile: WantedFile;
  /** Architectures, by Debian's names, that its images may be of, as far as the worker runs them. */
  readonly architectures: readonly string[];
  /** The steps of a build, in their order. */
  readonly steps: readonly StepPlan[];
  readonly planSpace: SpacePlanner;
  /** Whether its images are disks, whose size a request may choose (`disk_size`). */
  readonly isDisk: boolean;
  /**
   * The form of the layers by which builds share the packages of the distribution (lib/pipeline/layers.ts): an image, in the place
   * of the base image, or the overlay of a disk that `open` has made, with the changes. Missing: they share none.
   */
  readonly layerForm?: 'image' | 'overlay';
  /** Files that are put back after the changes, beside those of every system. */
  readonly sealParts: readonly SealPart[];
  /**
   * Inspects a base image, which is not trusted. Throws `image.unsafe`, `image.unsupported`, `image.too_large`,
   * `image.truncated`, `image.corrupt`, or the reason of the signal.
   */
  inspect(base: BaseImage, options: InspectOptions): Promise<InspectedImage>;
}

export interface StepPlan {
  readonly name: BuildStep;
  /** Share of a typical build's time; only its ratio to the other steps counts. */
  readonly weight: number;
}

export interface InspectOptions {
  /** Largest disk that the image may hold. */
  readonly maximumVirtualBytes: number;
  /** The base image as the request describes it. */
  readonly baseImage: BuildRequest['base_image'];
  /** The format that the request wants. */
  readonly outputFormat: OutputFormat;
  /** Size that the disk grows to; null for that of the base. */
  readonly diskBytes: number | null;
  /** Users of the tools that work on the image, where this process is root. */
  readonly unprivilegedIds: IdRange;
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
  /** All files that may be the base image, itself among them; missing: there is no other. */
  readonly files?: readonly FetchedFile[];
  readonly signal: AbortSignal;
  /** Called with news for users. */
  readonly onNotice: (message: string) => void;
  /** Called with the finished part of long work, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

export interface OpenOptions {
  readonly signal: AbortSignal;
  /** For kinds whose layers are overlays: the changes to begin with. Missing: none. */
  readonly begun?: BegunOverlay | undefined;
  /** Where the `uncompressed` disk lies; missing: the guest reads the base image itself. */
  readonly uncompressedPath?: string | undefined;
}

/** The overlay of a disk that `open` has made of the same base image with the same options, closed. */
export interface BegunOverlay {
  /** It is copied. */
  readonly path: string;
  /** The second, since 1970, in which its changes began. */
  readonly openedSeconds: number;
}

/** A base image that is safe to open. */
export interface InspectedImage {
  /** The base image among `files` of the options; missing: the one that was given. */
  readonly base?: BaseImage;
  readonly size: BaseSize;
  /** Format of the finished image. */
  readonly format: ImageResult['format'];
  /**
   * Reads what `pack` may hand on without looking at it. Throws `image.corrupt` where it is damaged, or the reason of the
   * signal.
   */
  readContent(signal: AbortSignal): Promise<void>;
  /** A copy of the disk without compression, over which the guest works faster; missing where it is of no use. */
  readonly uncompressed?: UncompressedDisk | undefined;
  /** Makes the disk that the guest opens: it reads as the base image and takes the changes. */
  open(place: GuestPlace, options: OpenOptions): Promise<GuestDisk>;
  /** For the boot check by files; null for images that it does not know. */
  readonly boot: BootDisk | null;
  /** For the boot check by machines; null for images that no machine boots by itself. */
  readonly waysToBoot: WaysToBoot | null;
  /**
   * The file trees of the image in which the same change is made after `disk` has been closed, in this order; none for
   * images with one file tree.
   */
  repetitions(disk: GuestDisk): readonly Repetition[];
  /** Bytes that the changes take so far. */
  changedBytes(disk: GuestDisk): Promise<number>;
  /**
   * Writes the finished image to `path`, whole or not at all. Throws `disk.full`, `tool.failed`, or the reason of the
   * signal.
   */
  pack(disk: GuestDisk, path: string, options: PackOptions): Promise<void>;
  /**
   * Checks the finished image as strictly as a base image, and hashes it. `name` is its file name in the store; a kind may
   * choose another one with the same end, and have files of its own beside the image. Throws `image.output`, or the reason
   * of the signal.
   */
  check(path: string, name: string, options: CheckOptions): Promise<Artifacts>;
}

/** A disk that can be copied to a raw file with holes. */
export interface UncompressedDisk {
  /** Bytes that the copy takes on the disk. */
  readonly storedBytes: number;
  /** Does what `readContent` does, and writes the copy to `path`, where nothing is. */
  copy(path: string, signal: AbortSignal): CopiedContent;
}

/**
 * The ways in which machines boot the finished image, which lies at `path`: with `firmwares`, where the boot check by files
 * has found them, else by its own boot loaders. Throws the reason of the signal.
 */
export type WaysToBoot = (
  path: string,
  options: { readonly firmwares: readonly Firmware[]; readonly signal: AbortSignal },
) => Promise<readonly TrialWay[]>;

/** A further file tree of an image, which has the change only when it is made there too. */
export interface Repetition {
  /** The part of the image that takes the changes, for people: `/casper/minimal.standard.squashfs`. */
  readonly name: string;
  /** Makes the disk that the guest opens. It shows none of the changes made before. */
  open(place: GuestPlace, options: { readonly signal: AbortSignal }): Promise<GuestDisk>;
  /** Takes the changes out of the closed disk, whose files may go afterwards. Throws as `pack` does. */
  take(disk: GuestDisk, options: { readonly signal: AbortSignal }): Promise<void>;
}

export interface CheckOptions {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export interface PackOptions {
  readonly compression: 'zlib' | 'zstd';
  /** Preset of xz, 0 to 9, and its threads, for archives that are packed by it. */
  readonly xzPreset: number;
  readonly xzThreads: number;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
  /** Called with a line for the build's log. */
  readonly onLog: (line: string) => void;
  /** Called with news that people should know of the finished image. */
  readonly onWarning: (message: string) => void;
}
