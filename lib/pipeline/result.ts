import type { BaseImageReport } from '../api/image-result.ts';
import { safeUrl } from '../errors.ts';
import type { BaseImage } from '../fetch/base-image.ts';

/** The base image as the result names it. */
export function describeBase(base: BaseImage): BaseImageReport {
  return {
    url: safeUrl(base.url),
    sha256: base.sha256,
    size: base.sizeBytes,
    from_cache: base.fromCache,
    verified_by: base.verifiedBy,
    checksums_url: base.checksumsUrl === null ? null : safeUrl(base.checksumsUrl),
    checksum_algorithms: [...base.checksumAlgorithms],
    signed_by: base.signedBy,
  };
}

/** A file name that identifies the image: series, ticket, and the first part of the build id. */
export function imageName(series: string, ticketId: string | number, buildId: string, format: string): string {
  const ticket = String(ticketId)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 64);
  return `${series}-${ticket}-${buildId.slice(0, 8)}.${format}`;
}
