import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Digest } from '../checksums.ts';
import { ImageBuilderError, safeUrl } from '../errors.ts';
import type { IdRange } from '../privileges.ts';
import { type BaseImage, type FetchOptions, fetchFile } from './base-image.ts';
import { type BesideFile, findBeside, readBeside } from './beside.ts';
import { chooseImages, type Mirrors, type WantedFile } from './choose-image.ts';
import { expectedByNeighbour, expectedByRequest, namesIn, type ReadOptions, readLists } from './expected-digest.ts';
import { probe } from './probe.ts';
import { checkFileSignature } from './signature.ts';
import { assertVerified } from './verification.ts';

export interface BaseImageOptions extends FetchOptions {
  /** Every URL of the request: the image, its mirrors, and files beside it. */
  readonly urlList: readonly string[];
  readonly wanted: WantedFile;
  /** The digest that the request demands. */
  readonly checksum?: Digest | null;
  /** Files with the keys that may sign lists of checksums. */
  readonly keyrings?: readonly string[];
  /** The user ids for gpgv where this process is root. */
  readonly unprivilegedIds: IdRange;
}

/** A file that is the base image, or one of a release that has it. */
export interface FetchedFile extends BaseImage {
  /** Its name by its URL, without the folder. It may hold any characters. */
  readonly fileName: string;
  /** The signature and the description that the request lists for it; none where the kind has no parts. */
  readonly beside: readonly BesideFile[];
  /** False where the request names digests, and none for this file. */
  readonly isNamed: boolean;
}

/**
 * Finds the base image among the URLs by content, and fetches it; with it all files of its formats, where its kind may have
 * parts. Each must have every digest that the request or a list of checksums names.
 *
 * Throws `image.not_found` or `image.unsupported` when no URL is an image or several are different ones, `image.checksum`
 * when a list of checksums cannot be used, and the errors of `fetchFile`.
 */
export async function fetchBaseImages(options: BaseImageOptions): Promise<readonly [FetchedFile, ...FetchedFile[]]> {
  const { urlList, client, signal, workDirectory, wanted, unprivilegedIds, checksum = null } = options;
  const onNotice = options.onNotice ?? (() => undefined);
  const probes = await Promise.all([...new Set(urlList)].map((url) => probe(url, client, signal)));
  const reading = { client, signal, workDirectory, onNotice, unprivilegedIds };
  const readOptions = { ...reading, keyrings: options.keyrings ?? [] };
  const lists = await readLists(probes, readOptions);
  const [first, ...others] = chooseImages(probes, new Set(lists.flatMap(namesIn)), wanted, onNotice);
  const listedNames = new Set(probes.map(({ fileName }) => fileName));
  const besideOf = async (mirrors: Mirrors): Promise<readonly BesideFile[]> =>
    wanted.mayHaveParts === true ? await readBeside(findBeside(mirrors, probes), { client, signal }) : [];

  const least = options.leastVerification ?? 'unverified';
  const vouched = async (file: FetchedFile): Promise<FetchedFile> => {
    const signed = await vouchBySignature(file, readOptions);
    assertVerified(signed.verifiedBy, least);
    return signed;
  };
  /** Evidence that is known after the download alone must not be asked for before it. */
  const isDecided = (beside: readonly BesideFile[]) => readOptions.keyrings.length === 0 || beside.length === 0;

  if (others.length === 0) {
    const expected =
      expectedByRequest(first, lists, checksum, listedNames) ?? (await expectedByNeighbour(first, readOptions));
    const beside = await besideOf(first);
    const { leastVerification: _, ...undecided } = options;
    const image = await fetchFile(first, expected, 'base-image', isDecided(beside) ? options : undecided);
    return [await vouched({ ...image, fileName: first[0].fileName, beside, isNamed: true })];
  }
  const all = [first, ...others];
  const fetching = shareLimits(all, options);
  const files: FetchedFile[] = [];
  for (const [index, mirrors] of all.entries()) {
    const listed = expectedByRequest(mirrors, lists, null, listedNames, true);
    const expected = listed ?? (await expectedByNeighbour(mirrors, readOptions));
    const beside = await besideOf(mirrors);
    const limits = fetching.next(checksum === null && isDecided(beside));
    const file = await fetchFile(mirrors, expected, `base-image-${index}`, limits);
    fetching.add(file.sizeBytes);
    const isNamed = listed !== null || (lists.length === 0 && checksum === null);
    files.push({ ...file, fileName: mirrors[0].fileName, beside, isNamed });
  }
  const named = checksum === null ? files : await nameByRequest(files, checksum, signal);
  const signed: FetchedFile[] = [];
  for (const file of named) signed.push(await vouched(file));
  return signed as [FetchedFile, ...FetchedFile[]];
}

/**
 * The file with the evidence of its own signature, where the request lists that and the operator trusts its key. Throws
 * `image.checksum` where the signature is wrong.
 */
async function vouchBySignature(file: FetchedFile, options: ReadOptions): Promise<FetchedFile> {
  const { path, url, fileName, beside, verifiedBy } = file;
  const signature = beside.find(({ name }) => name === `${fileName}.asc`);
  if (signature === undefined || options.keyrings.length === 0) return file;
  const { signedBy, reason } = await checkFileSignature(path, signature.content, safeUrl(url), options);
  if (signedBy === null) options.onNotice(`the signature of ${safeUrl(url)} proves nothing: ${reason}`);
  if (signedBy === null || verifiedBy === 'request') return file;
  return { ...file, verifiedBy: 'signature', signedBy: file.signedBy ?? signedBy };
}

/** The limits of one request for several files, one after another: their bytes add up. Throws `image.too_large`. */
function shareLimits(all: readonly Mirrors[], options: BaseImageOptions) {
  const { maximumBytes } = options;
  const sizes = all.map(([{ sizeBytes }]) => sizeBytes);
  const isKnown = sizes.every((size) => size !== null);
  const totalBytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  const largest = Math.max(...sizes.map((size) => size ?? 0));
  let done = 0;
  const check = (bytes: number) => {
    if (bytes <= maximumBytes) return;
    const message = `the archives of url_list have ${bytes} bytes or more; IMAGEBUILDER_MAXIMUM_DOWNLOAD allows ${maximumBytes}`;
    throw new ImageBuilderError('image.too_large', message);
  };
  check(totalBytes);
  return {
    add(bytes: number): void {
      done += bytes;
      check(done);
    },
    /** For the next file; `isDecided`: its evidence is known already. */
    next(isDecided: boolean): FetchOptions {
      const { leastVerification, onProgress, beforeDownload, ...rest } = options;
      const before = done;
      return {
        ...rest,
        maximumBytes: maximumBytes - before,
        ...(isDecided && leastVerification !== undefined ? { leastVerification } : {}),
        // The largest counts as the image, which takes more room than the others.
        beforeDownload: async () => await beforeDownload?.(isKnown ? largest : null, totalBytes - largest),
        onProgress: (current) => onProgress?.(before + current, isKnown ? totalBytes : null),
      };
    },
  };
}

/** The files, of which one has the digest that the request names. Throws `image.checksum` where none has. */
async function nameByRequest(
  files: readonly FetchedFile[],
  { algorithm, hex }: Digest,
  signal: AbortSignal,
): Promise<readonly FetchedFile[]> {
  const isIt = async ({ path, sha256 }: FetchedFile) => {
    if (algorithm === 'sha256') return sha256 === hex;
    const hash = createHash(algorithm);
    await pipeline(createReadStream(path), hash, { signal });
    return hash.digest('hex') === hex;
  };
  for (const [index, file] of files.entries()) {
    if (!(await isIt(file))) continue;
    const checksumAlgorithms = [...new Set([algorithm, ...file.checksumAlgorithms])];
    return files.with(index, { ...file, verifiedBy: 'request', checksumAlgorithms, isNamed: true });
  }
  const names = files.map(({ url }) => safeUrl(url)).join(', ');
  throw new ImageBuilderError(
    'image.checksum',
    `none of the archives of url_list has the ${algorithm} digest ${hex} of base_image.checksum: ${names}`,
  );
}
