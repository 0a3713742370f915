import type { ImageResult } from '../api/image-result.ts';
import type {
  Artifacts,
  LogOrigin,
  OnProgress,
  Origin,
  OtherArtifact,
  StoredArtifacts,
  StoredBuild,
  StoredOther,
} from './artifact.ts';
import type { ListOptions, StoredPage } from './listing.ts';

/** The place of finished artifacts. */
export interface Store {
  readonly kind: ImageResult['store'];
  /** The folder of this machine that the artifacts go to; null for a server. */
  readonly directory: string | null;
  /** False where the cloud has no such service: nothing can be there. Throws `store.failed`. */
  isThere(options: { readonly signal: AbortSignal }): Promise<boolean>;
  /** The artifacts of this build when all are there and whole, else null. Throws `store.failed`. */
  find(buildId: string, options: { readonly signal: AbortSignal }): Promise<StoredArtifacts | null>;
  /**
   * Puts all artifacts of a build in place, or none of them, and returns their places. Safe to repeat: whole artifacts
   * of this build id that are there already are the result. May move the files away. Throws `store.failed`, or the
   * reason of the signal.
   */
  put(artifacts: Artifacts, origin: Origin, options: StorePutOptions): Promise<StoredArtifacts>;
  /**
   * Keeps the log of a build that has ended, with or without an image, in place of one that is there from an earlier
   * attempt. Null where the store takes images only. May move the file away. Throws `store.failed`, or the reason of
   * the signal.
   */
  keepLog(
    log: OtherArtifact,
    origin: LogOrigin,
    options: { readonly signal: AbortSignal },
  ): Promise<StoredOther | null>;
  /** The log that was kept of this build, else null. It is not among the artifacts of `find`. */
  findLog(buildId: string, options: { readonly signal: AbortSignal }): Promise<StoredOther | null>;
  /**
   * One page of the builds that have something here, the newest first. What others have put beside it is not listed.
   * Takes time in proportion to the number of builds in the store, and memory for one page.
   */
  list(options: ListOptions): Promise<StoredPage>;
  /** Everything of one build, its log included; null where there is nothing. */
  describe(buildId: string, options: { readonly signal: AbortSignal }): Promise<StoredBuild | null>;
  /** Removes the leftovers of an unfinished `put` or `keepLog` of this build; does nothing when there are none. */
  discard(buildId: string): Promise<void>;
  /**
   * Removes everything of this build, and nothing of others that lies in the same place; does nothing when there is
   * nothing. Where it fails in the middle, the rest is still described, and a repeat removes it.
   */
  remove(buildId: string, options: { readonly signal: AbortSignal }): Promise<void>;
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

export interface StorePutOptions {
  readonly signal: AbortSignal;
  /** Called with the bytes of all artifacts. */
  readonly onProgress: OnProgress;
}
