import { z } from 'zod';
import { ArtifactReport, exampleArtifacts } from './artifact-report.ts';
import { Cursor } from './build-list.ts';
import { field } from './field.ts';
import { exampleImage, ImageResult } from './image-result.ts';

/** The query and the answers of `GET /api/v1/images/`. */

export const defaultImagePage = 20;
export const largestImagePage = 100;

export const ImageListQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^[0-9]{1,3}$/, { error: `must be a number from 1 to ${largestImagePage}` })
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= largestImagePage, {
      error: `must be a number from 1 to ${largestImagePage}`,
    })
    .default(defaultImagePage),
  /** `next_cursor` of the page before. */
  cursor: Cursor.optional(),
});
export type ImageListQuery = z.infer<typeof ImageListQuery>;

const { id, location, store, name, size, checksums, format, region, download_url, download_url_expires } =
  ImageResult.shape;

/** An image as the store describes it; the event of its build says more. */
const StoredImageReport = z.object({
  ...{ id, location, store, name, size, checksums, format },
  ...{ region, download_url, download_url_expires },
});

const exampleStoredImage = StoredImageReport.parse(exampleImage);

const StoredState = z.enum(['whole', 'files_missing', 'image_missing', 'log_only']);
export type StoredState = z.infer<typeof StoredState>;

/** A build in the store. */
export const StoredBuildReport = z.object({
  build_id: field(z.uuid(), 'The build.', exampleImage.id),
  ticket_id: field(
    z.string().nullable(),
    'The ticket of the build, as text. Like the next two, it is null where an older version has stored the build.',
    'T-77',
  ),
  series: field(z.string().nullable(), 'Series of the image.', 'bookworm'),
  caller: field(z.string().nullable(), 'Name of the caller that submitted the build.', 'lander'),
  stored_at: field(
    z.iso.datetime(),
    'The moment when the image was stored; without an image, that of the newest file.',
    '2026-01-01T12:04:09.000Z',
  ),
  state: field(
    StoredState,
    '`whole`: the image and all files that were put beside it; `files_missing`: some of these are gone, or in a folder of another machine; `image_missing`: the image is gone, such as by a deletion in Glance itself, and the files beside it are there; `log_only`: the log of a build without an image.',
    'whole',
  ),
  image: field(StoredImageReport.nullable(), 'The image; null for `image_missing` and `log_only`.', exampleStoredImage),
  artifacts: field(z.array(ArtifactReport), 'The files beside the image, and the log.', exampleArtifacts),
});
export type StoredBuildReport = z.infer<typeof StoredBuildReport>;

export const exampleStoredBuild: StoredBuildReport = {
  build_id: exampleImage.id,
  ticket_id: 'T-77',
  series: 'bookworm',
  caller: 'lander',
  stored_at: '2026-01-01T12:04:09.000Z',
  state: 'whole',
  image: exampleStoredImage,
  artifacts: exampleArtifacts,
};

/** One page, the newest first. */
export const ImagePage = z.object({
  images: field(
    z.array(StoredBuildReport),
    'Builds that have something in the store. A page may have fewer than `limit` although more follow.',
    [exampleStoredBuild],
  ),
  next_cursor: field(z.string().nullable(), 'Cursor of the next page; null on the last one.', null),
});
export type ImagePage = z.infer<typeof ImagePage>;
