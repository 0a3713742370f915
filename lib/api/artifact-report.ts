import { z } from 'zod';
import { field } from './field.ts';
import { Checksums, ImageResult } from './image-result.ts';

/** Files that a build has made beside the image. */

export const ArtifactRole = z.enum([
  ...(['log', 'manifest', 'changes', 'cyclonedx', 'spdx', 'provenance'] as const),
  ...(['companion', 'signature', 'device', 'custom', 'version'] as const),
]);
export type ArtifactRole = z.infer<typeof ArtifactRole>;

const { id, location, store, region, download_url, download_url_expires } = ImageResult.shape;
const exampleSha256 = '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03';
const exampleSha512 =
  '0cf9180a764aba863a67b6d72f0918bc131c6772642cb2dce5a34f0a702f9470ddc2bf125c12198b1995c233c34b4afd346c54a2334c350a948a51b6e8b4e6b6';

/** A file beside the image: its content, place, name, size and digests. */
export const ArtifactReport = z.object({
  role: field(
    ArtifactRole,
    'The content: the whole `log`; the `manifest` of packages; `changes` of packages; software bills of materials as `cyclonedx` and `spdx`; signed `provenance`; the `companion` of a system-image archive, which describes it; the `signature` of another file; `device`, `custom` and `version`: archives of the base image’s release, as they were.',
    'manifest',
  ),
  name: field(z.string(), 'Name of the file in the store.', 'bookworm-T-77-e7233533.manifest'),
  media_type: field(z.string(), 'Media type of the file.', 'text/plain; charset=utf-8'),
  size: field(z.int().nonnegative(), 'Size of the file, in bytes.', 14_312),
  checksums: field(Checksums, 'Digests of the file.', { sha256: exampleSha256, sha512: exampleSha512 }),
  id,
  location,
  store,
  region,
  download_url,
  download_url_expires,
});
export type ArtifactReport = z.infer<typeof ArtifactReport>;

export const exampleArtifacts: ArtifactReport[] = [
  {
    role: 'manifest',
    name: 'bookworm-T-77-e7233533.manifest',
    media_type: 'text/plain; charset=utf-8',
    size: 14_312,
    checksums: { sha256: exampleSha256, sha512: exampleSha512 },
    id: 'e7233533-d1cc-46ef-b48c-b22675d3e962/bookworm-T-77-e7233533.manifest',
    location:
      'file:///var/lib/imagebuilder/images/e7233533-d1cc-46ef-b48c-b22675d3e962/bookworm-T-77-e7233533.manifest',
    store: 'file',
  },
];
