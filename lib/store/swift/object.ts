import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { Checksums, ImageResult } from '../../api/event.ts';
import type { FinishedImage } from '../store.ts';

/** The names of an image's objects in its container, and its metadata. */

/** The names of all objects of a build have one of these two beginnings. */
export const objectPrefix = (buildId: string) => `${buildId}/`;
/** Segments lie in the same container, since a TempURL by the container's key opens no other one. */
export const segmentPrefix = (buildId: string) => `.segments/${buildId}/`;

export const objectName = (image: FinishedImage) => `${objectPrefix(image.buildId)}${image.name}`;
/** `attempt` separates the uploads of two workers at once, `index` counts from 0. */
export const segmentName = (buildId: string, attempt: string, index: number) =>
  `${segmentPrefix(buildId)}${attempt}/${String(index).padStart(5, '0')}`;

const metaPrefix = 'x-object-meta-imagebuilder-';

/** X-Object-Meta-*: enough to recognise the image, to check it, and to describe it. Values are percent-encoded. */
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
      // Swift takes 256 bytes for one value by default (max_meta_value_length).
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

/** The object that the metadata promise; null where they are not Image Builder's. */
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

/** A value that was cut off within an escape stays encoded. */
function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
