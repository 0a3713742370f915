import {
  type ChecksumEntry,
  checkedFile,
  type Digest,
  isChecksumName,
  isSignatureName,
  parseChecksums,
  signatureSuffixes,
} from '../checksums.ts';
import { ImageBuilderError, safeUrl } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import { readAll } from '../http/response.ts';
import { someOf } from '../text.ts';
import type { FailedProbe, Probe } from './probe.ts';
import { checkSignature, type SignatureOptions } from './signature.ts';

/** The ways to vouch for digests, the best first: the request itself, a signature, https, nobody. */
export const vouchers = ['request', 'signature', 'https', 'http'] as const;
export type Voucher = (typeof vouchers)[number];

/** The digests that the base image must have. */
export interface ExpectedDigests {
  /** At least one; at most one of each algorithm. */
  readonly digests: readonly Digest[];
  readonly vouchedBy: Voucher;
  /** The list of checksums; null where only the request names a digest. */
  readonly url: string | null;
  /** Fingerprint of the key that signed the list; null where no signature was checked, or none by a known key. */
  readonly signedBy: string | null;
}

/** A list of checksums that was read. */
export interface ChecksumList {
  readonly url: string;
  readonly fileName: string;
  readonly entries: readonly ChecksumEntry[];
  readonly vouchedBy: Exclude<Voucher, 'request'>;
  readonly signedBy: string | null;
}

export interface ReadOptions extends SignatureOptions {
  readonly client: HttpClient;
  readonly onNotice: (message: string) => void;
}

const maximumBytes = 4 * 1024 * 1024;
const maximumSignatureBytes = 64 * 1024;

/**
 * Reads every list of checksums among the URLs of a request. A request that lists one wants the image verified by it:
 * throws where it, or a signature that is listed, cannot be had or used.
 */
export async function readLists(
  probes: readonly (Probe | FailedProbe)[],
  options: ReadOptions,
): Promise<ChecksumList[]> {
  for (const found of probes) {
    if ('error' in found && (isChecksumName(found.fileName) || isSignatureName(found.fileName))) throw found.error;
  }
  const looked = probes.filter((found) => 'format' in found);
  const signatures = looked.filter(({ format }) => format.format === 'signature');
  const lists: ChecksumList[] = [];
  for (const { url, fileName, format } of looked) {
    if (format.format !== 'checksums') continue;
    const listed = signatures.find((signature) =>
      signatureSuffixes.some((suffix) => signature.fileName === fileName + suffix),
    );
    const list = await readList(url, fileName, listed?.url ?? null, options);
    if (list.entries.length === 0) {
      throw new ImageBuilderError('image.checksum', `${safeUrl(url)} holds no checksums: it is ${format.name}`);
    }
    lists.push(list);
  }
  return lists;
}

/** Reads one list, and checks its signature where the operator has named keyrings. */
async function readList(
  url: string,
  fileName: string,
  signatureUrl: string | null,
  options: ReadOptions,
): Promise<ChecksumList> {
  const { client, signal, keyrings, onNotice } = options;
  const { text, secure } = await client.getText(url, { maximumBytes, notFoundCode: 'image.not_found', signal });
  const unsigned = { url, fileName, entries: parseChecksums(text, fileName), signedBy: null };
  const vouchedBy = secure ? 'https' : 'http';
  if (keyrings.length === 0 || unsigned.entries.length === 0) return { ...unsigned, vouchedBy };
  const inline = text.includes('-----BEGIN PGP SIGNED MESSAGE-----');
  const signature = inline ? null : await readSignature(url, signatureUrl, options);
  if (!inline && signature === null) return { ...unsigned, vouchedBy };
  const signed = await checkSignature(Buffer.from(text), signature, safeUrl(url), options);
  if (signed.signedBy === null) {
    onNotice(`the signature of ${safeUrl(url)} proves nothing: ${signed.reason}`);
    return { ...unsigned, vouchedBy };
  }
  const entries = parseChecksums(signed.text, fileName);
  return { url, fileName, entries, vouchedBy: 'signature', signedBy: signed.signedBy };
}

/** The detached signature of a list: the one that the request lists, or one beside the list; null where there is none. */
async function readSignature(url: string, listed: string | null, options: ReadOptions): Promise<Buffer | null> {
  if (listed !== null) return readBytes(listed, options);
  for (const suffix of signatureSuffixes) {
    const beside = new URL(url);
    beside.pathname += suffix;
    try {
      return await readBytes(beside.href, options);
    } catch {
      options.signal.throwIfAborted();
    }
  }
  return null;
}

async function readBytes(url: string, { client, signal }: ReadOptions): Promise<Buffer> {
  using response = await client.open(url, { notFoundCode: 'image.not_found', signal });
  return await readAll(response, maximumSignatureBytes);
}

/**
 * The digests for the image by the request's own and the lists that it names, or null where it names neither. The best
 * voucher decides. Throws `image.checksum` where the lists that are named have no digest for the image, or equally good
 * ones contradict each other. With `isOneOfMany`, lists may be about other files of the request.
 */
export function expectedByRequest(
  mirrors: readonly Probe[],
  lists: readonly ChecksumList[],
  requested: Digest | null,
  listedNames: ReadonlySet<string>,
  isOneOfMany = false,
): ExpectedDigests | null {
  for (const list of lists) assertUsable(list, mirrors, listedNames);
  const found = lists.flatMap((list) => digestsOf(list, mirrors) ?? []);
  if (lists.length > 0 && found.length === 0 && !isOneOfMany) {
    const [{ fileName }] = mirrors as readonly [Probe];
    throw new ImageBuilderError('image.checksum', `${namesOf(lists)}: no digest of ${fileName} there can be used`);
  }
  const best = vouchers
    .map((voucher) => found.filter((each) => each.vouchedBy === voucher))
    .find((each) => each.length);
  const [first] = best ?? [];
  const asked: readonly Digest[] = requested === null ? [] : [requested];
  const digests = agreed([...asked, ...(best ?? []).flatMap((each) => each.digests)], namesOf(lists));
  if (digests.length === 0) return null;
  return {
    digests,
    vouchedBy: requested === null ? (first?.vouchedBy ?? 'http') : 'request',
    url: first?.url ?? null,
    signedBy: first?.signedBy ?? null,
  };
}

/** The names under which publishers put a list beside an image. */
function besideNames(fileName: string): readonly string[] {
  return ['SHA256SUMS', 'SHA512SUMS', `${fileName}.sha256`, `${fileName}.sha512`, 'CHECKSUM'];
}

/**
 * The digests by a list in the folder of one of the mirrors, those over https first. Null where there is none, or it
 * cannot be had or used. Throws `image.checksum` where its signature is wrong.
 */
export async function expectedByNeighbour(
  mirrors: readonly Probe[],
  options: ReadOptions,
): Promise<ExpectedDigests | null> {
  const ordered = [...mirrors.filter(({ secure }) => secure), ...mirrors.filter(({ secure }) => !secure)];
  for (const mirror of ordered) {
    for (const name of besideNames(mirror.fileName)) {
      const url = new URL(encodeURIComponent(name), mirror.url).href;
      try {
        const expected = digestsOf(await readList(url, name, null, options), [mirror]);
        if (expected !== null) return { ...expected, digests: agreed(expected.digests, safeUrl(url)) };
      } catch (error) {
        options.signal.throwIfAborted();
        if (error instanceof ImageBuilderError && error.code === 'image.checksum') throw error;
        // A server that does not answer now will not answer for the next name either.
        if (error instanceof ImageBuilderError && error.fault === 'upstream' && error.retryable) break;
      }
    }
  }
  return null;
}

/** The digests that a list has for the image at any of the mirrors; null where it has none that proves anything. */
function digestsOf(list: ChecksumList, mirrors: readonly Probe[]): ExpectedDigests | null {
  const digests = entriesFor(list, mirrors).flatMap(({ digest }) => digest ?? []);
  return digests.length === 0 ? null : { ...list, digests };
}

/**
 * The lines that are about the image: those with its path, seen from the list; otherwise those with its name in any
 * folder; or a digest alone, where the list's own name is not that of a list for another file.
 */
function entriesFor({ url, fileName, entries }: ChecksumList, mirrors: readonly Probe[]): readonly ChecksumEntry[] {
  const urls = new Set(mirrors.map((mirror) => mirror.url));
  const names = new Set(mirrors.map((mirror) => mirror.fileName));
  const here = entries.filter(({ path }) => path !== null && urls.has(resolve(path, url)));
  if (here.length > 0) return here;
  const named = entries.filter(({ path }) => path !== null && names.has(nameOf(path)));
  if (named.length > 0) return named;
  const checked = checkedFile(fileName);
  return entries.length === 1 && (checked === null || names.has(checked))
    ? entries.filter(({ path }) => path === null)
    : [];
}

/** The names of the files that a list is about. */
export function namesIn({ entries }: ChecksumList): string[] {
  return entries.flatMap(({ path }) => (path === null ? [] : [nameOf(path)]));
}

/** Throws where a list that the request names is neither about the image nor about another file of the request. */
function assertUsable(list: ChecksumList, mirrors: readonly Probe[], listedNames: ReadonlySet<string>): void {
  if (entriesFor(list, mirrors).length > 0) return;
  if (
    list.entries.some(({ path }) => listedNames.has(path === null ? (checkedFile(list.fileName) ?? '') : nameOf(path)))
  )
    return;
  const [{ fileName }] = mirrors as readonly [Probe];
  const others = list.entries.flatMap(({ path }) => path ?? checkedFile(list.fileName) ?? 'a file without a name');
  throw new ImageBuilderError(
    'image.checksum',
    `${safeUrl(list.url)} has no checksum of ${fileName}: it is for ${someOf([...new Set(others)])}`,
  );
}

/** One digest of each algorithm. Throws `image.checksum` where two of one algorithm differ. */
function agreed(digests: readonly Digest[], where: string): Digest[] {
  const known = new Map<string, Digest>();
  for (const digest of digests) {
    const other = known.get(digest.algorithm);
    if (other !== undefined && other.hex !== digest.hex) {
      throw new ImageBuilderError(
        'image.checksum',
        `two different ${digest.algorithm} digests are named for the base image, ${other.hex} and ${digest.hex} (${where})`,
      );
    }
    known.set(digest.algorithm, digest);
  }
  return [...known.values()];
}

function namesOf(lists: readonly ChecksumList[]): string {
  return lists.length === 0 ? 'by the request' : lists.map(({ url }) => safeUrl(url)).join(', ');
}

function resolve(path: string, base: string): string {
  return URL.parse(path.split('/').map(encodeURIComponent).join('/'), base)?.href ?? '';
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
