import type { ArtifactReport, ArtifactRole } from '../api/artifact-report.ts';
import type { StoredState } from '../api/image-list.ts';
import type { Checksums, ImageResult } from '../api/image-result.ts';
import type { CommonRun } from '../common-run.ts';

/** A file that a build has made and checked for its store. */
interface Content {
  /** File name such as `trusty-T-77-0f3c2d1e.qcow2`. Each artifact of a build has another one. */
  readonly name: string;
  readonly mediaType: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly checksums: Checksums;
  /** Long runs of bytes that are those of the base image; missing where none are known. */
  readonly sharedWithBase?: readonly CommonRun[];
}

export interface ImageArtifact extends Content {
  readonly role: 'image';
  readonly format: ImageResult['format'];
}

export interface OtherArtifact extends Content {
  readonly role: ArtifactRole;
}

export type Artifact = ImageArtifact | OtherArtifact;

/** The beginning of the names of files beside an image: its name without its format. */
export function stemOf({ name, format }: Pick<ImageArtifact, 'name' | 'format'>): string {
  return name.slice(0, -`.${format}`.length);
}

/** All artifacts of a build, the image first. */
export type Artifacts = readonly [ImageArtifact, ...OtherArtifact[]];

/** The build that a log is from: it may have failed before anything was known of its image. */
export interface LogOrigin {
  readonly buildId: string;
  readonly ticketId: string | number;
  readonly series: string;
  /** Name of the caller who has submitted the build; null where it is not known. */
  readonly caller: string | null;
}

/** The build that artifacts are from. */
export interface Origin extends LogOrigin {
  readonly baseImageSha256: string;
  /** Debian architecture, such as `amd64`. */
  readonly architecture: string;
  /** `ID` and `VERSION_ID` of the image's os-release. */
  readonly distribution: string;
  readonly distributionVersion: string;
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

/** Another artifact in the store. */
export type StoredOther = ArtifactReport;

/** All artifacts of a build in the store: the image first, the others in the order of their names. */
export type StoredArtifacts = readonly [StoredImage, ...StoredOther[]];

/** Everything that the store has of a build: its image, or what there is without one. */
export interface StoredBuild {
  readonly buildId: string;
  /** Null, as the next two, where an older version has stored it. */
  readonly ticketId: string | null;
  readonly series: string | null;
  readonly caller: string | null;
  /** The moment (ISO 8601) from which the image was there; without an image, that of the newest file. */
  readonly storedAt: string;
  readonly state: StoredState;
  /** Null for `image_missing` and `log_only`. */
  readonly image: StoredImage | null;
  /** In the order of their names; the log of the build is among them. */
  readonly artifacts: readonly StoredOther[];
}

export type OnProgress = (currentBytes: number, totalBytes: number) => void;

/** Adds up the bytes of parts that are stored side by side or one after another, each under a key of its own. */
export function sumProgress(artifacts: readonly Artifact[], onProgress: OnProgress) {
  const total = artifacts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const parts = new Map<string, number>();
  return (part: string, bytes: number): void => {
    parts.set(part, bytes);
    onProgress(
      parts.values().reduce((sum, value) => sum + value, 0),
      total,
    );
  };
}
