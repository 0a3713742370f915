import type { NamedFiles } from '../outside/records.ts';
import type { StateFile } from '../outside/state.ts';

/** A repository that apt had when it chose packages, as its Release file and the signatures of this describe it. */
export interface Repository {
  /** As the source has it, without credentials and without a slash at the end. */
  readonly uri: string;
  /** `bookworm-security`, or the path of a flat repository: `./`. */
  readonly suite: string;
  /** The file that apt has read and verified; null where there is none, or it is not known which. */
  readonly file: ReleaseFile | null;
  /** The keys whose signatures of the file are good and by which apt trusts it, at most 50. */
  readonly signers: readonly Signer[];
  /** The facts that nobody knows, in words. */
  readonly notKnown: readonly string[];
}

export interface ReleaseFile extends ReleaseFields {
  /** Without credentials. */
  readonly url: string;
  readonly sha256: string;
}

/** The facts of a Release file about itself; null for those that it lacks. Times are ISO 8601. */
export interface ReleaseFields {
  readonly origin: string | null;
  readonly suite: string | null;
  readonly codename: string | null;
  readonly date: string | null;
  readonly validUntil: string | null;
}

/** A key, by fingerprints of 40 or more hexadecimal digits. */
export interface Signer {
  /** The primary key. */
  readonly fingerprint: string;
  /** Its subkey that has signed; null where the primary key has. */
  readonly subkey: string | null;
}

/** All repositories of an image. */
export interface Repositories {
  readonly repositories: readonly Repository[];
  /** The reason why there may be more; null where these are all. */
  readonly notKnown: string | null;
}

/** The files of an image's apt that its repositories are described from. */
export interface RepositoryFiles {
  /** sources.list first, then the parts. */
  readonly sources: readonly StateFile[];
  /** Keyrings that verify sources without Signed-By. */
  readonly trusted: readonly StateFile[];
  /** Keyrings that sources name. */
  readonly keyrings: NamedFiles;
  /** Release files and their signatures, by their names in apt's folder of lists. */
  readonly releases: ReadonlyMap<string, Buffer>;
  /** Paths of lists of mirrors in the image, with the paths that apt knows them by. */
  readonly mirrors: ReadonlyMap<string, string>;
}

/** Those of Debian and Ubuntu have some 300 KiB. */
export const maximumReleaseBytes = 4 * 2 ** 20;
/** Of a folder of lists; a repository has up to two. */
export const maximumReleaseFiles = 400;
