import type { ArtifactReport } from '../api/artifact-report.ts';
import type { BaseImageReport, ImageResult } from '../api/image-result.ts';
import { safeUrl } from '../errors.ts';
import type { BaseImage } from '../fetch/base-image.ts';

/** A finished build: the image in the store, and the files beside it. */
export interface BuildResult {
  readonly image: ImageResult;
  readonly artifacts: readonly ArtifactReport[];
}

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

/** The beginning of file names that identify the image: series, ticket, and the first part of the build id. */
export function baseName(series: string, ticketId: string | number, buildId: string): string {
  const ticket = String(ticketId)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 64);
  return `${series}-${ticket}-${buildId.slice(0, 8)}`;
}
