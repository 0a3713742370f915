import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { Checksums, ImageResult } from '../../api/event.ts';
import type { FinishedImage } from '../store.ts';

/** How an image lies in its container: names, and what its metadata say. */

/** Everything of a build has one of these two beginnings. */
export const objectPrefix = (buildId: string) => `${buildId}/`;
/** In the same container, since a TempURL by the container's key opens no other. */
export const segmentPrefix = (buildId: string) => `.segments/${buildId}/`;

export const objectName = (image: FinishedImage) => `${objectPrefix(image.buildId)}${image.name}`;
/** `attempt` sets apart what two workers upload at once, `index` counts from 0. */
export const segmentName = (buildId: string, attempt: string, index: number) =>
  `${segmentPrefix(buildId)}${attempt}/${String(index).padStart(5, '0')}`;

const metaPrefix = 'x-object-meta-imagebuilder-';

/** X-Object-Meta-*: enough to know the image again, to check it, and to say what it is. Values are percent-encoded. */
export function toMetadata(image: FinishedImage): Record<string, string> {
  const values = {
    'build-id': image.buildId,
    'ticket-id': String(image.ticketId),
    name: image.name,
    size: String(image.sizeBytes),
    sha256: image.checksums.sha256,
    sha512: image.checksums.sha512,
    format: image.format,
    series: image.series,
    architecture: image.architecture,
    distribution: image.distribution,
    'distribution-version': image.distributionVersion,
    'base-sha256': image.baseImageSha256,
  };
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      metaPrefix + name,
      // 256 bytes is what Swift takes for one value unless told otherwise (max_meta_value_length).
      encodeURIComponent(value).slice(0, 256),
    ]),
  );
}

const Metadata = z.object({
  name: z.string(),
  size: z.coerce.number().int(),
  sha256: Checksums.shape.sha256,
  sha512: Checksums.shape.sha512,
  format: ImageResult.shape.format,
});

/** What the metadata say the object must be; null where they are not Image Builder's. */
export function fromMetadata(
  headers: IncomingHttpHeaders,
): { name: string; size: number; checksums: Checksums; format: ImageResult['format'] } | null {
  const values = Object.entries(headers).flatMap(([name, value]) =>
    name.startsWith(metaPrefix) && typeof value === 'string' ? [[name.slice(metaPrefix.length), decode(value)]] : [],
  );
  const result = Metadata.safeParse(Object.fromEntries(values));
  if (!result.success) return null;
  const { name, size, sha256, sha512, format } = result.data;
  return { name, size, checksums: { sha256, sha512 }, format };
}

/** A value that was cut off within an escape stays as it is. */
function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
