import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { ArtifactRole } from '../../api/artifact-report.ts';
import { Checksums, ImageResult } from '../../api/image-result.ts';
import type { Artifact, LogOrigin, Origin } from '../artifact.ts';

/** The names of artifacts' objects in their container, and their metadata. */

/** The names of all objects of a folder have one of these two beginnings. */
export const objectPrefix = (folder: string) => `${folder}/`;
/** Segments lie in the same container, since a TempURL by the container's key opens no other one. */
export const segmentPrefix = (folder: string) => `.segments/${folder}/`;

/** `attempt` separates the uploads of two workers at once, `index` counts from 0. */
export const segmentName = (folder: string, attempt: string, index: number) =>
  `${segmentPrefix(folder)}${attempt}/${String(index).padStart(5, '0')}`;

const metaPrefix = 'x-object-meta-imagebuilder-';

/**
 * Content-Type and X-Object-Meta-*: enough to recognise an artifact, to check it, and to describe it. `artifacts` is the
 * number of objects in its folder. Values are percent-encoded.
 */
export function headersOf(artifact: Artifact, origin: Origin | LogOrigin, artifacts: number): Record<string, string> {
  const values = {
    'build-id': origin.buildId,
    'ticket-id': String(origin.ticketId),
    role: artifact.role,
    artifacts: String(artifacts),
    name: artifact.name,
    size: String(artifact.sizeBytes),
    sha256: artifact.checksums.sha256,
    sha512: artifact.checksums.sha512,
    ...(artifact.role === 'image' ? { format: artifact.format } : {}),
    series: origin.series,
    ...(origin.caller === null ? {} : { caller: origin.caller }),
    ...('architecture' in origin ? systemOf(origin) : {}),
  };
  const metadata = Object.entries(values).map(([name, value]) => [
    metaPrefix + name,
    // Swift takes 256 bytes for one value by default (max_meta_value_length).
    encodeURIComponent(value).slice(0, 256),
  ]);
  return { 'content-type': artifact.mediaType, ...Object.fromEntries(metadata) };
}

function systemOf(origin: Origin): Record<string, string> {
  return {
    architecture: origin.architecture,
    distribution: origin.distribution,
    'distribution-version': origin.distributionVersion,
    'base-sha256': origin.baseImageSha256,
  };
}

/** Images of versions that stored nothing beside them have neither `role` nor `artifacts`. */
const Metadata = z
  .object({
    name: z.string(),
    size: z.coerce.number().int(),
    sha256: Checksums.shape.sha256,
    sha512: Checksums.shape.sha512,
    artifacts: z.coerce.number().int().positive().default(1),
    'build-id': z.string(),
    'ticket-id': z.string().nullable().default(null),
    series: z.string().nullable().default(null),
    caller: z.string().nullable().default(null),
  })
  .and(
    z.union([
      z.object({ role: z.literal('image').default('image'), format: ImageResult.shape.format }),
      z.object({ role: ArtifactRole }),
    ]),
  );

/** The object that the metadata promise; null where they are not Image Builder's. */
export function fromHeaders(headers: IncomingHttpHeaders) {
  const values = Object.entries(headers).flatMap(([name, value]) =>
    name.startsWith(metaPrefix) && typeof value === 'string' ? [[name.slice(metaPrefix.length), decode(value)]] : [],
  );
  const result = Metadata.safeParse(Object.fromEntries(values));
  if (!result.success) return null;
  const {
    sha256,
    sha512,
    artifacts,
    'build-id': buildId,
    'ticket-id': ticketId,
    series,
    caller,
    ...object
  } = result.data;
  const file = { ...object, checksums: { sha256, sha512 }, media_type: headers['content-type'] ?? '' };
  return { file, artifacts, origin: { buildId, ticketId, series, caller }, storedAt: storedAt(headers) };
}

/** The moment when the object was put, as a listing has it; `Last-Modified` has seconds only. */
function storedAt(headers: IncomingHttpHeaders): string {
  const seconds = Number(headers['x-timestamp']);
  const time = new Date(Number.isFinite(seconds) ? Math.floor(seconds * 1000) : (headers['last-modified'] ?? 0));
  return (Number.isNaN(time.getTime()) ? new Date(0) : time).toISOString();
}

/** A value that was cut off within an escape stays encoded. */
function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
