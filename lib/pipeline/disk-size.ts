import { type BuildRequest, diskSizeBytes } from '../api/request.ts';
import { ImageBuilderError } from '../errors.ts';

/** The size that the request wants for the disk; null for that of the base. Throws `image.too_large` beyond the limit. */
export function wantedDiskBytes({ disk_size: size }: BuildRequest, maximumVirtualBytes: number): number | null {
  if (size === undefined) return null;
  const bytes = diskSizeBytes(size);
  if (bytes <= maximumVirtualBytes) return bytes;
  throw new ImageBuilderError(
    'image.too_large',
    `disk_size asks for ${bytes} bytes; IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE allows ${maximumVirtualBytes}`,
  );
}
