import type { LayerReport, Reused } from '../api/image-result.ts';
import type { BuildRequest } from '../api/request.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import type { ChosenGuest } from '../guest/choose.ts';
import type { Guest, GuestPlace } from '../guest/guest.ts';
import type { ImageKind } from '../kinds/kind.ts';
import type { Artifacts } from '../store/artifact.ts';
import type { Store } from '../store/store.ts';
import type { Content, FinishedBuild } from './finished-builds.ts';

export interface Build {
  readonly buildId: string;
  readonly request: BuildRequest;
  /** Name of the caller who has submitted it; null where it is not known. */
  readonly caller: string | null;
}

/** One attempt at a build, with all that it was decided to work with. */
export interface Attempt {
  readonly build: Build;
  readonly kind: ImageKind;
  readonly chosen: ChosenGuest;
  /** The guest, as far as it is prepared. */
  readonly opener: Pick<Guest, 'open'>;
  readonly store: Store;
  readonly place: GuestPlace;
  /** Beginning of the names of its files. */
  readonly baseName: string;
  /** Size that the disk grows to; null for that of the base. */
  readonly diskBytes: number | null;
  /** Whether the finished image is booted, by wish of the request or of the operator. */
  readonly isBooted: boolean;
}

/** A checked image in the work directory, with all that its documents and its result are made from. */
export interface MadeImage {
  readonly base: BaseImage;
  /** The image, and files that its kind has beside it. */
  readonly found: Artifacts;
  readonly content: Content;
  /** The beginning of the work on it. */
  readonly startedAt: Date;
  /** The time at which it was complete. */
  readonly finishedAt: Date;
  /** The build that has made it, where that is another one. */
  readonly reused: Reused | null;
  /** The layer that it was made from; null where it was made from the base image. */
  readonly layer: LayerReport | null;
  /** For the same request later; null where its image might differ. */
  readonly again: Pick<FinishedBuild, 'basis' | 'madeOf'> | null;
}
