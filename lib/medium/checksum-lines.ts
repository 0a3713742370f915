import { isUtf8 } from 'node:buffer';
import { checkedFile } from '../checksums.ts';
import { ImageBuilderError } from '../errors.ts';
import { quoted, upTo } from '../text.ts';

/**
 * Lists of checksums that lie on a medium, such as `md5sum.txt`. casper-md5check, live-boot's `verify-checksums` and people
 * check the medium by them. Only digests are changed in them, and every other byte stays: line ends, byte order marks,
 * comments, marks of binary files.
 */
export interface ChecksumList {
  /** Its path on the medium. */
  readonly path: string;
  /** Each character is one byte. */
  readonly text: string;
}

/** Names of `createHash`. */
export type ChecksumAlgorithm = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'blake2b512';

/** A line of a list that names a file of the medium. */
export interface ListedFile {
  /** The file on the medium, behind symbolic links. */
  readonly path: string;
  /** Null for an algorithm that is not computed here. */
  readonly algorithm: ChecksumAlgorithm | null;
  /** Hexadecimal, lower case. */
  readonly hex: string;
}

/** Finds the file that a path on the medium means, behind links; null where there is none. */
export type FollowPath = (path: string) => string | null;

/** All lines of a list that name a file of the medium. */
export function listedFiles(list: ChecksumList, follow: FollowPath): ListedFile[] {
  return list.text.split('\n').flatMap((line) => {
    const listed = parseChecksumLine(line, list.path);
    const path = listed === null ? null : fileOf(listed.name, list.path, follow);
    if (listed === null || path === null) return [];
    return [{ path, algorithm: listed.algorithm, hex: line.slice(listed.start, listed.end).toLowerCase() }];
  });
}

/** Digests of a file by each algorithm that a list names it by; null for a file that no list may name. */
export type NewDigests = ReadonlyMap<ChecksumAlgorithm, string> | null;

/**
 * The text of a list with new digests: `digestsOf` says those of each file, and undefined for one that has not changed.
 * Throws `image.unsupported` where the list names a changed file by an algorithm that is not computed here.
 */
export function updateChecksums(
  list: ChecksumList,
  follow: FollowPath,
  digestsOf: (path: string) => NewDigests | undefined,
): string {
  const lines = list.text.split('\n').flatMap((line) => {
    const listed = parseChecksumLine(line, list.path);
    const path = listed === null ? null : fileOf(listed.name, list.path, follow);
    const digests = path === null ? undefined : digestsOf(path);
    if (listed === null || path === null || digests === undefined) return [line];
    if (digests === null) return [];
    const hex = listed.algorithm === null ? undefined : digests.get(listed.algorithm);
    if (hex === undefined) throw unknownAlgorithm(list.path, path);
    return [line.slice(0, listed.start) + hex + line.slice(listed.end)];
  });
  return lines.join('\n');
}

export function unknownAlgorithm(list: string, path: string): ImageBuilderError {
  return new ImageBuilderError(
    'image.unsupported',
    `/${list} of the medium has a checksum of /${path} by an algorithm that is not computed here: ${known}`,
  );
}

/** Whether a text is a list of checksums. Throws `image.unsupported` for one in UTF-16, which no program checks. */
export function isMediumList({ path, text }: ChecksumList): boolean {
  const has = (lines: string) => lines.split('\n').some((line) => parseChecksumLine(line, path) !== null);
  if (!/^(?:\xff\xfe|\xfe\xff)/.test(text)) return has(text);
  if (!has(text.slice(2).replaceAll('\0', ''))) return false;
  throw new ImageBuilderError(
    'image.unsupported',
    `the list of checksums ${quoted(`/${path}`)} of the medium is in UTF-16, and no program checks the medium by it: write it in UTF-8`,
  );
}

/** By the hexadecimal digits of a digest. */
const lengths: ReadonlyMap<number, ChecksumAlgorithm> = new Map([
  [32, 'md5'],
  [40, 'sha1'],
  [56, 'sha224'],
  [64, 'sha256'],
  [96, 'sha384'],
  [128, 'sha512'],
]);
const known = 'MD5, SHA-1, SHA-2 and BLAKE2b are';
const byteOrderMark = '\xef\xbb\xbf';
/** Lists of b2sum(1) look like those of sha512sum(1). */
const isOfBlake = /(?:^|[._/-])b2(?:sums?)?(?:\.txt)?$/i;

/** Places of the digest in a line, and the file that it is of. */
export interface ChecksumLine {
  readonly start: number;
  readonly end: number;
  readonly algorithm: ChecksumAlgorithm | null;
  /** As the line has it, without escapes; each character is one byte. */
  readonly name: string;
}

/**
 * A line of md5sum(1) and its like (`digest  name`, `digest *name`, and behind a backslash the form for names with line
 * ends and backslashes), of BSD's md5(1) and `md5sum --tag` (`MD5 (name) = digest`), of openssl-dgst(1)
 * (`SHA2-256(name)= digest`), or, in a list beside one file, a digest alone.
 */
export function parseChecksumLine(line: string, listPath: string): ChecksumLine | null {
  const first = line.startsWith(byteOrderMark) ? byteOrderMark.length : 0;
  const isEscaped = line[first] === '\\';
  const start = first + (isEscaped ? 1 : 0);
  const text = line.slice(start, line.endsWith('\r') ? -1 : undefined);
  const found = parsePlain(text, listPath) ?? parseTagged(text);
  if (found === null) return null;
  const name = isEscaped ? withoutEscapes(found.name) : found.name;
  return { start: start + found.start, end: start + found.end, algorithm: found.algorithm, name };
}

function parsePlain(text: string, listPath: string): ChecksumLine | null {
  const hex = upTo(text, ' ', '\t');
  const byLength = lengths.get(hex.length);
  if (byLength === undefined || !isHex(hex)) return null;
  const isBlake = isOfBlake.test(listPath);
  const algorithm = !isBlake ? byLength : hex.length === 128 ? 'blake2b512' : null;
  const named = text.slice(hex.length).trimStart();
  const name = named.startsWith('*') ? named.slice(1) : named;
  const place = { start: 0, end: hex.length, algorithm };
  if (name !== '') return { ...place, name };
  const alone = checkedFile(listPath.slice(listPath.lastIndexOf('/') + 1));
  return alone === null ? null : { ...place, name: Buffer.from(alone, 'utf8').toString('latin1') };
}

/** The name may hold brackets itself. */
function parseTagged(text: string): ChecksumLine | null {
  const [opening, closing] = [text.indexOf('('), text.lastIndexOf(')')];
  if (opening < 1 || closing < opening) return null;
  const tail = text.slice(closing + 1);
  const hex = tail.trim().replace(/^=/, '').trim();
  if (!tail.trimStart().startsWith('=') || hex === '' || !isHex(hex)) return null;
  const tag = text.slice(0, opening).trim();
  if (!/^[A-Za-z0-9][A-Za-z0-9/-]*$/.test(tag)) return null;
  const start = closing + 1 + tail.indexOf(hex);
  const algorithm = algorithmOf(tag.toLowerCase(), hex.length);
  return { start, end: start + hex.length, algorithm, name: text.slice(opening + 1, closing) };
}

/** `sha256`, `sha2-256` and `sha-256` are one. */
function algorithmOf(tag: string, hexLength: number): ChecksumAlgorithm | null {
  if (/^blake2b(?:-?512)?$/.test(tag)) return hexLength === 128 ? 'blake2b512' : null;
  const algorithm = lengths.get(hexLength);
  return algorithm !== undefined && tag.replace(/^sha(?:2?-)/, 'sha') === algorithm ? algorithm : null;
}

function isHex(text: string): boolean {
  return /^[0-9a-fA-F]+$/.test(text);
}

function withoutEscapes(name: string): string {
  return name.replace(/\\([\\nr])/g, (_, letter: string) => (letter === 'n' ? '\n' : letter === 'r' ? '\r' : letter));
}

/** A name of a list in a folder means a file of that folder, or else one by its path on the medium. */
function fileOf(name: string, listPath: string, follow: FollowPath): string | null {
  const bytes = Buffer.from(name, 'latin1');
  const path = isUtf8(bytes) ? bytes.toString('utf8') : name;
  const folder = listPath.slice(0, listPath.lastIndexOf('/') + 1);
  const own = folder === '' || path.startsWith('/') ? null : follow(folder + path);
  return own ?? follow(path);
}
