import { upTo } from './text.ts';

/** Lists of checksums as publishers write them: the one place that reads them. */

/** The digests that prove a file's content, the strongest first, with their lengths in hexadecimal digits. */
export const digestAlgorithms = { sha512: 128, sha384: 96, sha256: 64 } as const;
export type DigestAlgorithm = keyof typeof digestAlgorithms;

/** A digest of a file. */
export interface Digest {
  readonly algorithm: DigestAlgorithm;
  /** Lower-case hexadecimal. */
  readonly hex: string;
}

/** One line of a list. */
export interface ChecksumEntry {
  /** The path as the list has it; null where the line is a digest alone. */
  readonly path: string | null;
  /** Null for an algorithm that proves nothing today (MD5, SHA-1) or that is not read here (SHA-224, BLAKE2). */
  readonly digest: Digest | null;
}

const weakLengths: readonly number[] = [32, 40, 56];
const signedMessage = '-----BEGIN PGP SIGNED MESSAGE-----';

/**
 * The entries of a list of checksums: lines of sha256sum(1) and its like (`digest  file`, `digest *file`, and their form
 * for names with a backslash), of BSD's and coreutils' `--tag` (`SHA256 (file) = digest`), of `openssl dgst`
 * (`SHA2-256(file)= digest`), and a digest alone. Comments, a byte order mark and the frame of an inline signature
 * (RFC 9580, section 7) are skipped, and so are lines of other kinds.
 */
export function parseChecksums(text: string, listName = ''): ChecksumEntry[] {
  const entries = linesOf(text).flatMap((line) => parseLine(line) ?? []);
  // Lines of b2sum(1) look like those of sha512sum(1).
  return /^b2sums?/i.test(listName) ? entries.map(({ path }) => ({ path, digest: null })) : entries;
}

/** Whether a text is a list of checksums: its first line that is neither empty nor a comment decides. */
export function isChecksumList(text: string): boolean {
  const first = linesOf(text).find((line) => line !== '' && !line.startsWith('#'));
  return first !== undefined && parseLine(first) !== null;
}

const listNameEnd = /(^|[._-])((md5|sha-?(1|2|224|256|384|512)|b2)(sums?)?|sha|(sha|check)sums?|digests)([.]txt)?$/i;
const listNameStart = /^((md5|sha-?(1|2|224|256|384|512)|b2)sums?|checksums?)[._-]/i;

/**
 * Whether a file is a list of checksums by its name: `SHA256SUMS`, `sha512sum.txt`, `CHECKSUM`, `disk.img.sha256`,
 * `Cloud-42-CHECKSUM`, `disk.img.DIGESTS`.
 */
export function isChecksumName(name: string): boolean {
  return listNameEnd.test(name) || (listNameStart.test(name) && !isSignatureName(name));
}

/** Whether a file is an OpenPGP signature by its name. */
export function isSignatureName(name: string): boolean {
  return signatureSuffixes.some((suffix) => name.toLowerCase().endsWith(suffix));
}

/** The names that publishers give to the signature of a list, after the list's own name. */
export const signatureSuffixes = ['.gpg', '.sign', '.asc', '.sig'] as const;

/** The file that a list of one checksum is for, by the list's name: `disk.img` of `disk.img.sha256`; or null. */
export function checkedFile(listName: string): string | null {
  const place = listNameEnd.exec(listName)?.index ?? 0;
  return place === 0 ? null : listName.slice(0, place);
}

/** Reads `sha256:…` and the like as a request names a digest; null where it is none. */
export function parseDigest(text: string): Digest | null {
  const [name = '', hex = ''] = text.split(':', 2);
  const digest = digestOf(name, hex);
  return digest === null || text.length !== name.length + 1 + hex.length ? null : digest;
}

/** The lines of the signed part, where there is one, without the escapes of its frame. */
function linesOf(text: string): string[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r\n|\r|\n/);
  const start = lines.indexOf(signedMessage);
  if (start < 0) return lines.map((line) => line.trimEnd());
  const headersEnd = lines.indexOf('', start);
  const end = lines.indexOf('-----BEGIN PGP SIGNATURE-----', start);
  return lines
    .slice(headersEnd < 0 ? start + 1 : headersEnd + 1, end < 0 ? undefined : end)
    .map((line) => (line.startsWith('- ') ? line.slice(2) : line).trimEnd());
}

function parseLine(line: string): ChecksumEntry | null {
  return parseGnu(line) ?? parseTagged(line);
}

/** `digest  file`, `digest *file`, `\digest  fi\\le`, or a digest alone. */
function parseGnu(line: string): ChecksumEntry | null {
  const escaped = line.startsWith('\\');
  const start = escaped ? 1 : 0;
  const hex = upTo(line.slice(start), ' ', '\t');
  if (!/^[0-9a-fA-F]+$/.test(hex) || !isDigestLength(hex.length)) return null;
  const rest = line.slice(start + hex.length).trimStart();
  const name = rest.startsWith('*') ? rest.slice(1) : rest;
  const path = escaped ? name.replace(/\\([\\nr])/g, (_, letter: string) => escapes[letter] ?? letter) : name;
  return { path: path === '' ? null : path, digest: digestOf(null, hex) };
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\', n: '\n', r: '\r' };

/** `SHA256 (file) = digest` and `SHA2-256(file)= digest`. The name may hold brackets itself. */
function parseTagged(line: string): ChecksumEntry | null {
  const opening = line.indexOf('(');
  const closing = line.lastIndexOf(')');
  if (opening < 1 || closing < opening) return null;
  const tail = line.slice(closing + 1).trim();
  const hex = tail.slice(1).trim();
  if (!tail.startsWith('=') || !/^[0-9a-fA-F]+$/.test(hex)) return null;
  const name = line.slice(0, opening).trim();
  if (!/^[A-Za-z0-9][A-Za-z0-9-]*$/.test(name)) return null;
  return { path: line.slice(opening + 1, closing), digest: digestOf(name, hex) };
}

function isDigestLength(length: number): boolean {
  return weakLengths.includes(length) || Object.values(digestAlgorithms).some((wanted) => wanted === length);
}

/** The digest, where the algorithm is one of ours; the length names it where the line does not. */
function digestOf(name: string | null, hex: string): Digest | null {
  const wanted = name?.toLowerCase().replace(/^sha2?-/, 'sha') ?? null;
  for (const [algorithm, length] of Object.entries(digestAlgorithms) as [DigestAlgorithm, number][]) {
    if (length !== hex.length || (wanted !== null && wanted !== algorithm)) continue;
    return /^[0-9a-fA-F]+$/.test(hex) ? { algorithm, hex: hex.toLowerCase() } : null;
  }
  return null;
}
