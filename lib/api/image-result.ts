import { z } from 'zod';
import { VerifiedBy } from '../evidence.ts';
import { field } from './field.ts';

/** The finished image as an event and a status report it. */

const exampleSha256 = 'aa37636588fa61843e0e05025a268622d3b6bf5213d7abcba355fb31ab7a3767';
const exampleSha512 =
  '86dcd607cb84e063da01776b37bf3fdf6d9c037b755319eeca13b2a9004243092b93058b1e99798f78b9cb50b17dc942158f13c033174316bb6e4e9acdafcb18';

/** Hex digests of the finished image. */
export const Checksums = z.object({
  sha256: field(z.string().regex(/^[0-9a-f]{64}$/), 'SHA-256 of the file, in hexadecimal.', exampleSha256),
  sha512: field(z.string().regex(/^[0-9a-f]{128}$/), 'SHA-512 of the file, in hexadecimal.', exampleSha512),
});
export type Checksums = z.infer<typeof Checksums>;

/** The base image that a build began with. */
export const BaseImageReport = z.object({
  url: field(
    z.string(),
    'The URL of `url_list` that the image came from, without user, password and query.',
    'https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img',
  ),
  sha256: field(z.string().regex(/^[0-9a-f]{64}$/), 'SHA-256 of the file as it was downloaded.', exampleSha256),
  size: field(z.int().nonnegative(), 'Size of the file as it was downloaded, in bytes.', 625_004_544),
  from_cache: field(z.boolean(), 'True when an earlier build had downloaded the image from this URL.', false),
  verified_by: field(
    VerifiedBy,
    'The best that vouches for the content of the image; docs/api.md explains each.',
    'signature',
  ),
  checksums_url: field(
    z.string().nullable(),
    'The list of checksums that names the digest of the image, without query; null when there is none.',
    'https://cloud-images.ubuntu.com/noble/current/SHA256SUMS',
  ),
  checksum_algorithms: field(
    z.array(z.enum(['sha256', 'sha384', 'sha512'])),
    'The algorithms of the digests that were compared; empty where no digest was named.',
    ['sha256'],
  ),
  signed_by: field(
    z.string().nullable(),
    'Fingerprint of the key that signed the list, or the file itself; null where no such signature was checked.',
    'D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81',
  ),
});
export type BaseImageReport = z.infer<typeof BaseImageReport>;

const exampleBaseImage: BaseImageReport = {
  url: 'http://images.example.org/base-bookworm.qcow2',
  sha256: '0b5559901aa6bb2614b3dbdb3a6ffdb42dea18e44f06e61971221d3d108d71b3',
  size: 227_672_064,
  from_cache: true,
  verified_by: 'checksums_over_http',
  checksums_url: 'http://images.example.org/SHA256SUMS',
  checksum_algorithms: ['sha256'],
  signed_by: null,
};

/** A package that a build has added, or replaced by another version. */
const ChangedPackage = z.object({
  name: field(z.string(), 'Name of the package.', 'hello'),
  version: field(z.string(), 'Version in the finished image.', '2.10-3'),
  previous_version: field(
    z.string(),
    'Version in the base image; missing where the package is new.',
    '2.10-2',
  ).optional(),
});

/** A package of the base image that the finished image has no more. */
const RemovedPackage = z.object({
  name: field(z.string(), 'Name of the package.', 'hello-traditional'),
  version: field(z.string(), 'Version in the base image.', '2.10-6'),
  architecture: field(z.string(), 'Architecture of the package.', 'amd64'),
});

/** The earlier build whose image a build has taken, instead of making the same one anew. */
export const Reused = z.object({
  build_id: field(z.uuid(), 'The build that has made the image.', '5e0c2a64-4a0b-4f0e-8a4c-1f0a3c7b9d21'),
  started_at: field(z.iso.datetime(), 'The moment when it began.', '2026-01-01T09:58:03.000Z'),
  finished_at: field(z.iso.datetime(), 'The moment when its image was complete.', '2026-01-01T09:59:12.000Z'),
});
export type Reused = z.infer<typeof Reused>;

/** The packages of an image that the worker had installed into its base image before. */
export const LayerReport = z.object({
  packages: field(z.int().positive(), 'How many packages of the result the layer had.', 34),
  made_at: field(z.iso.datetime(), 'The moment when the layer was complete.', '2026-01-01T09:59:12.000Z'),
});
export type LayerReport = z.infer<typeof LayerReport>;

/** The finished image: its place, name, size and digests. */
export const ImageResult = z.object({
  id: field(
    z.string(),
    'The store’s own identifier of the image; in the file store, the id of the build.',
    '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55',
  ),
  location: field(
    z.string(),
    'URL of the image: `file://…` in the file store, Glance’s `…/v2/images/ID`, or the object’s in Swift.',
    'file:///var/lib/imagebuilder/images/0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55.qcow2',
  ),
  store: field(z.enum(['file', 'glance', 'swift']), 'The kind of store that has the image.', 'file'),
  name: field(z.string(), 'Name of the image in the store.', '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55.qcow2'),
  size: field(z.int().nonnegative(), 'Size of the image’s file, in bytes.', 704_643_072),
  checksums: field(Checksums, 'Digests of the image’s file.', { sha256: exampleSha256, sha512: exampleSha512 }),
  format: field(
    z.enum(['qcow2', 'raw', 'tar', 'tar.gz', 'tar.xz', 'tar.zst', 'iso']),
    'Format of the image’s file.',
    'qcow2',
  ),
  region: field(
    z.string(),
    'Region of OpenStack that has the image; missing where the store knows none.',
    'RegionOne',
  ).optional(),
  download_url: field(
    z.url(),
    'A signed URL from which anybody can download the image without a token; only where Swift makes one. Handle it as a secret.',
    'https://swift.example.org/v1/AUTH_demo/images/image.qcow2?temp_url_sig=da39a3ee&temp_url_expires=1767873600',
  ).optional(),
  download_url_expires: field(
    z.iso.datetime(),
    'The moment from which `download_url` no longer works.',
    '2026-01-08T12:00:00.000Z',
  ).optional(),
  packages: field(
    z.array(ChangedPackage),
    'Packages that were added, or replaced by another version, in comparison with the base image.',
    [{ name: 'hello', version: '2.10-3', previous_version: '2.10-2' }],
  ).optional(),
  removed: field(
    z.array(RemovedPackage),
    'Packages of the base image that the change has removed, since they conflict with the new ones.',
    [{ name: 'hello-traditional', version: '2.10-6', architecture: 'amd64' }],
  ).optional(),
  packages_omitted: field(
    z.int().positive(),
    'Number of further entries of `packages`, for which the event has no room.',
    12,
  ).optional(),
  removed_omitted: field(
    z.int().positive(),
    'Number of further entries of `removed`, for which the event has no room.',
    3,
  ).optional(),
  warnings: field(
    z.array(z.string()),
    'News for people about the image: a mount point that could not be opened, and that nothing has written below; a package that is not installed under the name that it was asked for by; a new kernel that a CD image does not boot.',
    ['editor is not installed under this name: nano provides it'],
  ).optional(),
  reused: field(
    Reused,
    'The earlier build of the same caller that has made this very image; missing where this build has made it. `reuse: false` in a request builds anew.',
    {
      build_id: '5e0c2a64-4a0b-4f0e-8a4c-1f0a3c7b9d21',
      started_at: '2026-01-01T09:58:03.000Z',
      finished_at: '2026-01-01T09:59:12.000Z',
    },
  ).optional(),
  layer: field(
    LayerReport,
    'The packages that the worker had installed into the base image before this build, from the base image’s own repositories; missing where there were none. `reuse: false` in a request builds without them.',
    { packages: 34, made_at: '2026-01-01T09:59:12.000Z' },
  ).optional(),
  base_image_sha256: field(z.string(), 'The same as `base_image.sha256`.', exampleBaseImage.sha256).optional(),
  base_image: field(
    BaseImageReport,
    'The image that the build began with, and how far it was verified.',
    exampleBaseImage,
  ).optional(),
});
export type ImageResult = z.infer<typeof ImageResult>;

/** The image of a real build, with paths and hosts of an example. */
export const exampleImage: ImageResult = {
  id: 'e7233533-d1cc-46ef-b48c-b22675d3e962',
  location: 'file:///var/lib/imagebuilder/images/e7233533-d1cc-46ef-b48c-b22675d3e962/bookworm-T-77-e7233533.qcow2',
  store: 'file',
  name: 'bookworm-T-77-e7233533.qcow2',
  size: 228_964_864,
  checksums: { sha256: exampleSha256, sha512: exampleSha512 },
  format: 'qcow2',
  packages: [
    { name: 'jq', version: '1.6-2.1+deb12u3' },
    { name: 'libfoo', version: '1.0-1' },
    { name: 'libjq1', version: '1.6-2.1+deb12u3' },
    { name: 'libonig5', version: '6.9.8-1' },
  ],
  base_image_sha256: exampleBaseImage.sha256,
  base_image: exampleBaseImage,
};
