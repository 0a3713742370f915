import { safeUrl } from '../errors.ts';
import { type ArchiveName, parseArchiveName } from './archive-name.ts';

/** The files that an installation fetches, as apt names them before it does. It verifies each by the digest given here. */

/** A package file that apt fetches. */
export interface Download extends ArchiveName {
  /** Without credentials. Apt's own ways stay: `mirror+file:/etc/apt/mirrors/ubuntu.list/pool/…`. */
  readonly url: string;
  /** The digest in the signed index; null where the index has neither SHA-256 nor SHA-512. */
  readonly digest: PackageDigest | null;
  /** The indexes with this version below which the file lies; empty where apt does not say. */
  readonly places: readonly IndexPlace[];
}

export type PackageDigest = { readonly sha256: string } | { readonly sha512: string };

/** An index of packages, in the words of the source that names it. */
export interface IndexPlace {
  /** Without credentials and without a slash at the end. */
  readonly uri: string;
  /** `bookworm-security`, or the path of a flat repository: `./`. */
  readonly suite: string;
  /** Null for a flat repository. */
  readonly component: string | null;
}

/** A line of `apt-get --print-uris`. */
export interface PrintedUri {
  readonly url: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly digest: PackageDigest | null;
}

/** `'URL' file size hash`, the lines of `apt-get --print-uris`. */
export function parseUris(lines: readonly string[]): PrintedUri[] {
  return lines.flatMap((line): PrintedUri[] => {
    const [quoted = '', file = '', size = '', hash = ''] = line.split(' ');
    if (!quoted.startsWith("'") || !/^\d{1,15}$/.test(size)) return [];
    return [{ url: safeUrl(quoted.slice(1, -1)), file, sizeBytes: Number(size), digest: digestOf(hash) }];
  });
}

function digestOf(hash: string): PackageDigest | null {
  const [, algorithm, value = ''] = /^(SHA256|SHA512):([0-9a-fA-F]{64,128})$/.exec(hash) ?? [];
  const hex = value.toLowerCase();
  if (algorithm === 'SHA256' && hex.length === 64) return { sha256: hex };
  if (algorithm === 'SHA512' && hex.length === 128) return { sha512: hex };
  return null;
}

/**
 * The downloads of an installation: lines of `apt-get --print-uris`, and those of `apt-cache madison` for the same
 * packages (` name | version | URI suite/component architecture Packages`).
 */
export function parseDownloads(uris: readonly string[], madison: readonly string[]): Download[] {
  const places = placesByPackage(madison);
  return parseUris(uris).flatMap(({ url, file, digest }): Download[] => {
    const named = parseArchiveName(file);
    if (named === null) return [];
    const found = places.get(`${named.name} ${named.version}`) ?? [];
    return [{ ...named, url, digest, places: placesOf(url, named.architecture, found) }];
  });
}

/** Of repositories that lie in each other, the innermost has the file. */
function placesOf(url: string, wanted: string, found: readonly FoundPlace[]): IndexPlace[] {
  const above = found.filter(
    ({ architecture, place }) =>
      (architecture === null || wanted === 'all' || wanted === architecture) && url.startsWith(`${place.uri}/`),
  );
  const length = above.reduce((most, { place }) => Math.max(most, place.uri.length), 0);
  const innermost = above.filter(({ place }) => place.uri.length === length);
  return [...new Map(innermost.map(({ place }) => [`${place.suite} ${place.component}`, place])).values()];
}

interface FoundPlace {
  /** Null for a flat repository, whose index has packages of any. */
  readonly architecture: string | null;
  readonly place: IndexPlace;
}

function placesByPackage(madison: readonly string[]): Map<string, FoundPlace[]> {
  const byPackage = new Map<string, FoundPlace[]>();
  for (const line of madison) {
    const [shown = '', version = '', index = ''] = line.split(' | ');
    const [uri = '', where = '', ...rest] = index.trim().split(' ');
    // A flat repository has neither a component nor an architecture: `http://host ./ Packages`.
    const flat = where.endsWith('/');
    const architecture = flat ? null : (rest[0] ?? '');
    if (rest.at(-1) !== 'Packages' || (!flat && rest.length !== 2)) continue;
    const slash = flat ? where.length : where.lastIndexOf('/');
    if (slash <= 0) continue;
    const component = flat ? null : where.slice(slash + 1);
    const place = { uri: withoutSlash(safeUrl(uri)), suite: where.slice(0, slash), component };
    const [name = ''] = shown.trim().split(':');
    const key = `${name} ${version.trim()}`;
    const entry = { architecture, place };
    const known = byPackage.get(key);
    if (known === undefined) byPackage.set(key, [entry]);
    else if (known.length < maximumPlaces) known.push(entry);
  }
  return byPackage;
}

/** Of one version of a package. Images have a handful of repositories. */
const maximumPlaces = 100;

/** The URL without its last slash. */
export function withoutSlash(url: string): string {
  return url.endsWith('/') ? url.slice(0, -1) : url;
}
