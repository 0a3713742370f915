import { z } from 'zod';
import type { ImageResult } from '../../api/image-result.ts';
import { omissibleProperties } from '../../config/store.ts';
import { ImageBuilderError } from '../../errors.ts';
import type { Artifacts, ImageArtifact, Origin } from '../artifact.ts';

/** Images in the terms of Glance's API v2, and the properties that Image Builder writes on its own. */

const hex = (digits: number) =>
  z
    .string()
    .length(digits)
    .regex(/^[0-9a-f]*$/);

export const GlanceImage = z.object({
  id: z.uuid(),
  name: z.string().nullable(),
  status: z.string(),
  size: z.int().nullable(),
  disk_format: z.string().nullable(),
  os_hash_algo: z.string().nullish(),
  os_hash_value: z.string().nullish(),
  created_at: z.string(),
  protected: z.boolean().optional(),
  /** Properties that the image must have, written before it is uploaded. */
  imagebuilder_size: z.coerce.number().int().optional().catch(undefined),
  imagebuilder_sha256: hex(64).optional().catch(undefined),
  imagebuilder_sha512: hex(128).optional().catch(undefined),
  imagebuilder_build_id: z.string().optional().catch(undefined),
  ticket_id: z.string().optional().catch(undefined),
  imagebuilder_series: z.string().optional().catch(undefined),
  imagebuilder_caller: z.string().optional().catch(undefined),
  /** Number of artifacts beside the image in Swift; missing where there are none. */
  imagebuilder_others: z.coerce.number().int().positive().optional().catch(undefined),
  /** The place of the artifacts beside the image. */
  imagebuilder_artifacts: z.string().optional().catch(undefined),
});
export type GlanceImage = z.infer<typeof GlanceImage>;

/** An answer to GET /v2/images; `next` is a path. */
export const GlanceImages = z.object({ images: z.array(GlanceImage), next: z.string().optional() });

/** Marks the images of Image Builder. Images that clouds make of machines have their properties, and not their tags. */
export const ownTag = 'imagebuilder';

const formats: Readonly<Record<string, ImageResult['format']>> = { qcow2: 'qcow2', raw: 'raw', iso: 'iso' };

/** OpenStack's names for Debian's architectures (Glance's useful image properties). */
const architectures: Readonly<Record<string, string>> = {
  amd64: 'x86_64',
  arm64: 'aarch64',
  armhf: 'armv7l',
  i386: 'i686',
  ppc64el: 'ppc64le',
};

/** The operator's settings for every image. */
export interface ImageTraits {
  readonly visibility: 'private' | 'shared' | 'community' | 'public';
  /** Properties such as `hw_disk_bus`. */
  readonly properties: Readonly<Record<string, string>>;
  /** Names of properties that images do not get. */
  readonly omitted: readonly string[];
  readonly tags: readonly string[];
  readonly minimumDiskGiB: number;
  readonly minimumMemoryMiB: number;
  readonly protected: boolean;
}

/** The properties by which a build's image is recognised and checked; they must have room in any quota. */
export function identifyingProperties(image: ImageArtifact, buildId: string, others: number): Record<string, string> {
  return {
    ...(others === 0 ? {} : { imagebuilder_others: String(others) }),
    imagebuilder_build_id: buildId,
    imagebuilder_size: String(image.sizeBytes),
    imagebuilder_sha256: image.checksums.sha256,
    imagebuilder_sha512: image.checksums.sha512,
  };
}

/** The properties for people and schedulers. All values are text, because Glance takes nothing else. */
export function describingProperties(
  [, ...others]: Artifacts,
  origin: Origin,
  where: string,
  { properties, omitted }: Pick<ImageTraits, 'properties' | 'omitted'>,
): Record<string, string> {
  const digests = ['manifest', 'provenance'].flatMap((role) => {
    const other = others.find((each) => each.role === role);
    return other === undefined ? [] : [[`imagebuilder_${role}_sha256`, other.checksums.sha256] as const];
  });
  const own = {
    os_distro: origin.distribution,
    os_version: origin.distributionVersion,
    architecture: architectures[origin.architecture] ?? origin.architecture,
    ticket_id: String(origin.ticketId),
    imagebuilder_series: origin.series,
    imagebuilder_base_sha256: origin.baseImageSha256,
    ...Object.fromEntries(digests),
    ...(others.length === 0 ? {} : { imagebuilder_artifacts: where }),
    ...(origin.caller === null ? {} : { imagebuilder_caller: origin.caller }),
  };
  return { ...Object.fromEntries(Object.entries(own).filter(([name]) => !omitted.includes(name))), ...properties };
}

/** Whether an image can do without the property. */
export const isOmissible = (name: string) => omissibleProperties.some((each) => each === name);

/** The body of POST /v2/images without properties. Throws `store.refused` for a format that Glance does not have. */
export function newImage(image: ImageArtifact, traits: ImageTraits) {
  if (formats[image.format] === undefined) {
    throw new ImageBuilderError(
      'store.refused',
      `Glance takes no ${image.format}; with IMAGEBUILDER_STORE=auto or swift such images go to Swift`,
    );
  }
  return {
    name: image.name,
    disk_format: image.format,
    container_format: 'bare',
    visibility: traits.visibility,
    tags: [...new Set([ownTag, ...traits.tags])],
    min_disk: traits.minimumDiskGiB,
    min_ram: traits.minimumMemoryMiB,
    protected: traits.protected,
  };
}

/** The difference between the image in Glance and the recorded or uploaded one, in words; null where there is none. */
export function faultOf(
  image: GlanceImage,
  expected: {
    readonly size: number | undefined;
    readonly sha256: string | undefined;
    readonly sha512: string | undefined;
  },
): string | null {
  if (image.status !== 'active') return `is ${image.status}, not active`;
  if (image.size !== expected.size)
    return `has ${image.size ?? 'no'} bytes instead of ${expected.size ?? 'an unknown number'}`;
  if (hasUnknownDigest(image)) {
    return `is hashed with ${image.os_hash_algo ?? 'nothing'}; sha512 is needed (hashing_algorithm in glance-api.conf)`;
  }
  const digest = image.os_hash_algo === 'sha256' ? expected.sha256 : expected.sha512;
  return digest !== undefined && image.os_hash_value === digest ? null : 'has another content than was uploaded';
}

/**
 * Whether Glance hashed the image with an algorithm (its default is sha512) for which we have no digest of the file.
 */
export function hasUnknownDigest(image: GlanceImage): boolean {
  return image.status === 'active' && !['sha256', 'sha512'].includes(image.os_hash_algo ?? '');
}

/** The image as a result. Only for one without a fault. */
export function toStored(image: GlanceImage, endpoint: { readonly url: string; readonly region: string }) {
  return {
    id: image.id,
    location: `${glanceRoot(endpoint.url)}/v2/images/${image.id}`,
    store: 'glance' as const,
    region: endpoint.region,
    name: image.name ?? image.id,
    size: image.size ?? 0,
    checksums: { sha256: image.imagebuilder_sha256 ?? '', sha512: image.imagebuilder_sha512 ?? '' },
    format: formats[image.disk_format ?? ''] ?? ('raw' as const),
  };
}

/** Whether the image has the size and digests that were recorded on it before it was uploaded. */
export function isWhole(image: GlanceImage): boolean {
  const { imagebuilder_size: size, imagebuilder_sha256: sha256, imagebuilder_sha512: sha512 } = image;
  return sha256 !== undefined && sha512 !== undefined && faultOf(image, { size, sha256, sha512 }) === null;
}

/** Least number of files beside the image; null where the image does not say whether there are any. */
export function numberBeside(image: GlanceImage): number | null {
  // Files in a folder of a machine are not counted in the image, since it is whole without them.
  return image.imagebuilder_others ?? (image.imagebuilder_artifacts === undefined ? null : 1);
}

/** The catalogue's URL has no version in most clouds, and one in some. */
export function glanceRoot(endpoint: string): string {
  return endpoint.replace(/\/v2$/, '');
}
