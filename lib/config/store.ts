import { z } from 'zod';
import { bytes, list, MiB, seconds, wholeNumber, yesNo } from './formats.ts';
import { parseGlanceProperties } from './glance-properties.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

const properties = z.string().transform((text, context) => {
  const parsed = parseGlanceProperties(text);
  if ('properties' in parsed) return parsed.properties;
  context.addIssue({ code: 'custom', message: parsed.fault });
  return z.NEVER;
});

/** Null for an empty text. */
const orNone = <Schema extends z.ZodType<number, string>>(schema: Schema) =>
  z
    .string()
    .transform((text) => (text === '' ? null : text))
    .pipe(schema.nullable());

/** Glance keeps these numbers in a column of 32 bits with a sign. */
const glanceNumber = wholeNumber.refine((value) => value < 2 ** 31, { error: 'must be less than 2147483648' });

/** Properties that describe an image. Those by which it is recognised and checked are not among them. */
export const omissibleProperties = [
  'os_distro',
  'os_version',
  'architecture',
  'ticket_id',
  'imagebuilder_series',
  'imagebuilder_base_sha256',
  'imagebuilder_caller',
  'imagebuilder_manifest_sha256',
  'imagebuilder_provenance_sha256',
  'imagebuilder_artifacts',
] as const;

/** Stores of finished images. */
export const storeSettings = {
  store: setting(
    'IMAGEBUILDER_STORE',
    z.enum(['auto', 'file', 'glance', 'swift'], { error: 'must be auto, file, glance or swift' }),
    'auto',
    'Store of finished images. `auto`: with OpenStack settings (`OS_*`, clouds.yaml), cloud images go to Glance and all others to Swift; without, all go to the file store.',
  ),
  fileStoreBytes: setting(
    'IMAGEBUILDER_STORE_SIZE',
    orNone(bytes.refine((size) => size >= MiB, { error: 'must be at least 1M' })),
    '',
    'Size of the file store. After each build, the oldest builds in it are removed until the rest is within that; none that runs, and none in the first hour. Empty: nothing is removed.',
  ),
  fileStoreAgeSeconds: setting(
    'IMAGEBUILDER_STORE_AGE',
    orNone(wholeNumber.refine((age) => age >= 3600, { error: 'must be at least 3600 seconds' })),
    '',
    'Seconds after which a build is removed from the file store, such as 2592000 for 30 days. Empty: none is.',
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
    'Properties that every image in Glance gets, such as `hw_disk_bus=virtio,trait:HW_CPU_X86_AVX2=required`, separated by commas; or a JSON object ([docs/openstack.md](docs/openstack.md#properties)).',
  ),
  glanceOmittedProperties: setting(
    'IMAGEBUILDER_GLANCE_OMIT_PROPERTIES',
    list.pipe(
      z.array(
        z.enum(omissibleProperties, {
          error: `must be some of ${omissibleProperties.join(', ')}; images are recognised by the others`,
        }),
      ),
    ),
    '',
    'Properties of Image Builder’s own that images do not get, where a cloud protects them, such as `os_distro,architecture`.',
  ),
  glanceTags: setting(
    'IMAGEBUILDER_GLANCE_TAGS',
    list.pipe(z.array(z.string().max(255, { error: 'must be tags of at most 255 characters' }))),
    '',
    'Tags that images in Glance get beside `imagebuilder`, separated by commas.',
  ),
  glanceMinimumDiskGiB: setting(
    'IMAGEBUILDER_GLANCE_MIN_DISK',
    glanceNumber,
    '0',
    'Disk in GiB that a machine needs to be started from an image (`min_disk`).',
  ),
  glanceMinimumMemoryMiB: setting(
    'IMAGEBUILDER_GLANCE_MIN_RAM',
    glanceNumber,
    '0',
    'Memory in MiB that a machine needs to be started from an image (`min_ram`).',
  ),
  glanceProtected: setting(
    'IMAGEBUILDER_GLANCE_PROTECTED',
    yesNo,
    'false',
    'Whether images in Glance are protected from deletion.',
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
