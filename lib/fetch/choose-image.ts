import { ImageBuilderError, safeUrl } from '../errors.ts';
import type { FileFormat } from '../file-format.ts';
import type { FailedProbe, Probe } from './probe.ts';

/** The formats that the base image may have. */
export interface WantedFile {
  readonly formats: readonly FileFormat['format'][];
  /** Formats that may carry it, where no URL serves it plainly. */
  readonly wrappings?: readonly FileFormat['format'][];
  /** In words: `qcow2, or a raw disk with a partition table`. */
  readonly description: string;
}

/**
 * The URLs that serve the base image: mirrors of one image, in the order of the request.
 *
 * URLs are mirrors of one image when their file name and size are the same; where a list of checksums names the
 * file (`named`), the name is enough, since the digest reveals a stale mirror; and where size and first bytes are
 * the same, the name may differ. Throws the errors of `fetchBaseImage` when there is no image, or more than one.
 */
export function chooseImage(
  probes: readonly (Probe | FailedProbe)[],
  named: ReadonlySet<string>,
  wanted: WantedFile,
  onNotice: (message: string) => void,
): readonly [Probe, ...Probe[]] {
  const failed = probes.filter((found) => 'error' in found);
  const looked = probes.filter((found) => 'format' in found);
  const plain = looked.filter(({ format }) => wanted.formats.includes(format.format));
  const wrapped = looked.filter(({ format }) => wanted.wrappings?.includes(format.format) === true);
  const [image, ...others] = plain.length > 0 ? plain : wrapped;
  if (image === undefined) throw noImage(looked, failed, wanted);
  for (const { error } of failed) onNotice(`passed over: ${error.message}`);
  const different = others.find((candidate) => !areMirrors(image, candidate, named));
  if (different !== undefined) {
    throw new ImageBuilderError(
      'image.unsupported',
      `url_list holds two different images, ${describe(image)} and ${describe(different)}: name one, and its mirrors`,
    );
  }
  return [image, ...others];
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
