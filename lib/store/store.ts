import type { Checksums, ImageResult } from '../api/event.ts';

/** The place of finished images. */
export interface Store {
  readonly kind: ImageResult['store'];
  /** The image of this build when it is there and whole, else null. Throws `store.failed`. */
  find(buildId: string, options: { readonly signal: AbortSignal }): Promise<StoredImage | null>;
  /**
   * Puts a finished image in place, whole or not at all, and returns its place. Safe to repeat: a whole image of this
   * build id that is there already is the result. May move the file at `path` away. Throws `store.failed`, or the
   * reason of the signal.
   */
  put(image: FinishedImage, options: StorePutOptions): Promise<StoredImage>;
  /** Removes the leftovers of an unfinished `put` of this build; does nothing when there are none. */
  discard(buildId: string): Promise<void>;
  /** Conditions of `put`, in the order in which it needs them. */
  readonly checks: readonly StoreCheck[];
}

export interface StoreCheck {
  /** The subject, such as `Glance quota`. */
  readonly what: string;
  /** True for a check that puts something into the store, or makes it ready for that. */
  readonly changes: boolean;
  /** Resolves with its state, in plain words. Throws where finished images would not find their way. */
  look(signal: AbortSignal): Promise<string>;
}

export interface FinishedImage {
  readonly buildId: string;
  readonly ticketId: string | number;
  /** File name such as `trusty-T-77-0f3c2d1e.qcow2`. */
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly checksums: Checksums;
  readonly format: ImageResult['format'];
  readonly series: string;
  readonly baseImageSha256: string;
  /** Debian architecture, such as `amd64`. */
  readonly architecture: string;
  /** `ID` and `VERSION_ID` of the image's os-release. */
  readonly distribution: string;
  readonly distributionVersion: string;
}

export interface StorePutOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (currentBytes: number, totalBytes: number) => void;
}

/** An image in the store, with its own digests: an earlier attempt may have put it. */
export type StoredImage = Pick<
  ImageResult,
  'id' | 'location' | 'store' | 'name' | 'size' | 'checksums' | 'format' | 'region'
> & {
  /** URL that gives the image to anybody who has it, without a token, until `download_url_expires` (ISO 8601). */
  readonly download_url?: string;
  readonly download_url_expires?: string;
};
