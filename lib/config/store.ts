import { z } from 'zod';
import { bytes, list, MiB, seconds } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

const properties = list
  .pipe(
    z.array(
      z.string().regex(/^(?!os_glance_|imagebuilder_|ticket_id=)[a-z][a-z0-9_:]*=[^=]+$/, {
        error: 'must be pairs such as hw_disk_bus=virtio, with names that Glance and Image Builder leave free',
      }),
    ),
  )
  .transform((pairs) => Object.fromEntries(pairs.map((pair) => pair.split('=', 2) as [string, string])));

/** Stores of finished images. */
export const storeSettings = {
  store: setting(
    'IMAGEBUILDER_STORE',
    z.enum(['auto', 'file', 'glance', 'swift'], { error: 'must be auto, file, glance or swift' }),
    'auto',
    'Store of finished images. `auto`: with OpenStack settings (`OS_*`, clouds.yaml), cloud images go to Glance and all others to Swift; without, all go to the file store.',
  ),
  glanceVisibility: setting(
    'IMAGEBUILDER_GLANCE_VISIBILITY',
    z.enum(['private', 'shared', 'community', 'public'], {
      error: 'must be private, shared, community or public',
    }),
    'private',
    'Visibility of images in Glance. `public` usually needs an administrator.',
  ),
  glanceProperties: setting(
    'IMAGEBUILDER_GLANCE_PROPERTIES',
    properties,
    '',
    'Properties that every image in Glance gets, such as `hw_disk_bus=virtio,hw_qemu_guest_agent=yes`.',
  ),
  swiftContainer: setting(
    'IMAGEBUILDER_SWIFT_CONTAINER',
    z.string().regex(/^[^/?#\s]{1,128}$/, { error: 'must be a name of at most 128 characters without "/"' }),
    'imagebuilder',
    'Container in Swift; created when missing.',
  ),
  swiftSegmentBytes: setting(
    'IMAGEBUILDER_SWIFT_SEGMENT_SIZE',
    bytes.refine((size) => size >= MiB, { error: 'must be at least 1M' }),
    '1G',
    'Larger images are uploaded to Swift in segments of this size.',
  ),
  swiftTemporaryUrlMs: setting(
    'IMAGEBUILDER_SWIFT_TEMPORARY_URL_LIFETIME',
    seconds,
    '604800',
    'Seconds for which a download URL of an image in Swift is good. Images have such a URL when the secret `swift-temporary-url-key` is set.',
  ),
} as const satisfies Declarations;

export type StoreSettings = SettingsOf<typeof storeSettings> & { readonly swiftTemporaryUrlKey: string | null };
