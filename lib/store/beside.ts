import type { Artifact, LogOrigin, Origin, StoredBuild, StoredImage, StoredOther } from './artifact.ts';
import type { StorePutOptions } from './store.ts';

/** A place of artifacts beside an image that is somewhere else, and of logs. */
export interface Beside {
  /** The place, as properties of images name it. */
  readonly where: string;
  /** Whether all workers see the same in it: only then does a set that is missing mean that it is not there. */
  readonly isShared: boolean;
  /** All objects of the folder, in the order of their names, when they are whole; else null. */
  find(folder: string, options: BesideOptions): Promise<StoredObject[] | null>;
  /** Puts all or none; the first comes last. Whole objects of these names that are there already are the result. */
  put(
    folder: string,
    artifacts: readonly Artifact[],
    origin: Origin | LogOrigin,
    options: StorePutOptions,
  ): Promise<StoredObject[]>;
  /** Removes everything that belongs to no whole set of objects. */
  discard(folder: string, options: BesideOptions): Promise<void>;
  /** Removes all objects of the folder that Image Builder has put there. */
  remove(folder: string, options: BesideOptions): Promise<void>;
  /** The whole objects of the folder, whether or not all are there, in the order of their names. */
  look(folder: string, options: BesideOptions): Promise<FoundObject[]>;
  /**
   * The folders whose names begin with `prefix` (which may have slashes) and go on with an id, without those below
   * these. In the order of their names in Swift.
   */
  folders(prefix: string, options: BesideOptions): AsyncGenerator<Folder, void>;
}

export interface Folder {
  /** The whole name, as the other calls take it. */
  readonly name: string;
  /** The moment (ISO 8601) when its newest object was put. */
  readonly storedAt: string;
}

export interface BesideOptions {
  readonly signal: AbortSignal;
}

export type StoredObject = StoredOther | (StoredImage & { readonly role: 'image'; readonly media_type: string });

/** An object, the build that it is of, and when it was put (ISO 8601). */
export interface FoundObject {
  readonly object: StoredObject;
  /** Number of objects that were put into its folder with it, itself included. */
  readonly ofSet: number;
  readonly origin: Pick<StoredBuild, 'buildId' | 'ticketId' | 'series' | 'caller'>;
  readonly storedAt: string;
}
