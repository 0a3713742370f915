import { type BuildRequest, diskSizeBytes } from '../api/request.ts';
import { ImageBuilderError } from '../errors.ts';
import type { ImageKind } from '../kinds/kind.ts';

/**
 * The size that the request wants for the disk; null for that of the base. Throws `image.too_large` beyond the limit, and
 * `image.unsupported` for images that are no disks.
 */
export function wantedDiskBytes(
  { disk_size: size, base_image: { image_type: type } }: BuildRequest,
  { isDisk }: Pick<ImageKind, 'isDisk'>,
  maximumVirtualBytes: number,
): number | null {
  if (size === undefined) return null;
  if (!isDisk) {
    throw new ImageBuilderError(
      'image.unsupported',
      `disk_size is for disks, and an image of the type ${type} is none: leave it out`,
    );
  }
  const bytes = diskSizeBytes(size);
  if (bytes <= maximumVirtualBytes) return bytes;
  throw new ImageBuilderError(
    'image.too_large',
    `disk_size asks for ${bytes} bytes; IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE allows ${maximumVirtualBytes}`,
  );
}
