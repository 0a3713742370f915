import { ImageBuilderError, safeUrl } from '../errors.ts';
import type { FileFormat } from '../file-format.ts';
import type { FailedProbe, Probe } from './probe.ts';

/** The formats that the base image may have. */
export interface WantedFile {
  readonly formats: readonly FileFormat['format'][];
  /** Formats that may carry it, where no URL serves it plainly. */
  readonly wrappings?: readonly FileFormat['format'][];
  /** True where a release may have more files of these formats, which only their content tells apart. Default: false. */
  readonly mayHaveParts?: boolean;
  /** In words: `qcow2, or a raw disk with a partition table`. */
  readonly description: string;
}

/** The URLs that serve one file, in the order of the request. */
export type Mirrors = readonly [Probe, ...Probe[]];

/**
 * The files that are the base image, or may be it: each by its mirrors. There is one, but for kinds that may have parts.
 *
 * URLs are mirrors of one image when their file name and size are the same; where a list of checksums names the
 * file (`named`), the name is enough, since the digest reveals a stale mirror; and where size and first bytes are
 * the same, the name may differ. Throws the errors of `fetchBaseImages` when there is no image, or more than one.
 */
export function chooseImages(
  probes: readonly (Probe | FailedProbe)[],
  named: ReadonlySet<string>,
  wanted: WantedFile,
  onNotice: (message: string) => void,
): readonly [Mirrors, ...Mirrors[]] {
  const failed = probes.filter((found) => 'error' in found);
  const looked = probes.filter((found) => 'format' in found);
  const plain = looked.filter(({ format }) => wanted.formats.includes(format.format));
  const wrapped = looked.filter(({ format }) => wanted.wrappings?.includes(format.format) === true);
  const [first, ...others] = groupMirrors(plain.length > 0 ? plain : wrapped, named);
  if (first === undefined) throw noImage(looked, failed, wanted);
  if (wanted.mayHaveParts === true) assertNoneMissing([first, ...others], failed);
  for (const { error } of failed) onNotice(`passed over: ${error.message}`);
  const [different] = others;
  if (different !== undefined && wanted.mayHaveParts !== true) {
    throw new ImageBuilderError(
      'image.unsupported',
      `url_list holds two different images, ${describe(first[0])} and ${describe(different[0])}: name one, and its mirrors`,
    );
  }
  return [first, ...others];
}

function groupMirrors(images: readonly Probe[], named: ReadonlySet<string>): readonly Mirrors[] {
  const groups: [Probe, ...Probe[]][] = [];
  for (const image of images) {
    const group = groups.find(([first]) => areMirrors(first, image, named));
    if (group === undefined) groups.push([image]);
    else group.push(image);
  }
  return groups;
}

/** Throws the error of a URL that may be a part of the release which no other URL has: the result would lack it. */
function assertNoneMissing(groups: readonly Mirrors[], failed: readonly FailedProbe[]): void {
  const there = new Set(groups.flat().map(({ fileName }) => fileName));
  const missing = failed.find(({ fileName }) => isArchiveName(fileName) && !there.has(fileName));
  if (missing !== undefined) throw missing.error;
}

/** Whether a file is a tar archive by its name. */
function isArchiveName(name: string): boolean {
  return /[.](tar([.](gz|xz|zst))?|tgz|txz)$/i.test(name);
}

function areMirrors(one: Probe, other: Probe, named: ReadonlySet<string>): boolean {
  const sameName = one.fileName === other.fileName;
  if (sameName && named.has(one.fileName)) return true;
  const sameSize = one.sizeBytes === null || other.sizeBytes === null || one.sizeBytes === other.sizeBytes;
  return sameSize && (sameName || (one.sizeBytes !== null && one.firstBytes.equals(other.firstBytes)));
}

/**
 * The error where no URL is an image: a server's failure comes first, since trying again may help there; then the files
 * that are there instead.
 */
function noImage(looked: readonly Probe[], failed: readonly FailedProbe[], wanted: WantedFile): ImageBuilderError {
  const found = [...failed.map(({ error }) => error.message), ...looked.map(advise)].join('; ');
  const telling =
    failed.find(({ error }) => error.retryable) ??
    failed.find(({ error }) => error.fault === 'upstream') ??
    failed.find(({ error }) => error.code !== 'image.not_found') ??
    (looked.length === 0 ? failed[0] : undefined);
  if (failed.length === 1 && looked.length === 0 && telling !== undefined) return telling.error;
  return new ImageBuilderError(
    telling?.error.code ?? 'image.unsupported',
    `no URL of url_list serves a base image (${wanted.description}): ${found}`,
    { cause: telling?.error },
  );
}

function advise(probe: Probe): string {
  return `${describe(probe)}: ${probe.format.advice}`;
}

function describe({ url, format, sizeBytes }: Probe): string {
  return `${safeUrl(url)} (${format.name}${sizeBytes === null ? '' : `, ${sizeBytes} bytes`})`;
}
