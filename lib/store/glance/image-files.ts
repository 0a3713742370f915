import type { Beside, BesideOptions } from '../beside.ts';
import { isBuildId } from '../listing.ts';

/**
 * The files beside images in Glance: those of one image in a folder of its own, in Swift or in the folder of the file
 * store. The folder's name has the build too, so that the files are found when somebody has deleted the image in Glance.
 */

/** The beginning of the names of these folders. It lies behind all ids in the order of names. */
export const imageFilesPrefix = 'glance/';

/** The folder of an image, by its id in Glance. */
export const imageFilesOf = (buildId: string, imageId: string) => `${imageFilesPrefix}${buildId}.${imageId}`;

export interface ImageFolder {
  readonly folder: string;
  readonly buildId: string;
  readonly imageId: string;
  /** ISO 8601. */
  readonly storedAt: string;
}

/** The folders of a build's images, or of those of all builds. */
export async function* imageFolders(
  place: Pick<Beside, 'folders'>,
  buildId: string | null,
  options: BesideOptions,
): AsyncGenerator<ImageFolder, void> {
  const prefix = buildId === null ? imageFilesPrefix : `${imageFilesPrefix}${buildId}.`;
  for await (const { name, storedAt } of place.folders(prefix, options)) {
    const found = readImageFolder(name.slice(imageFilesPrefix.length));
    if (found !== null) yield { folder: name, ...found, storedAt };
  }
}

/** The two ids of a folder's name without the prefix; null for the name of something else. */
export function readImageFolder(name: string): Pick<ImageFolder, 'buildId' | 'imageId'> | null {
  const [buildId = '', imageId = '', ...rest] = name.split('.');
  return isBuildId(buildId) && isBuildId(imageId) && rest.length === 0 ? { buildId, imageId } : null;
}
