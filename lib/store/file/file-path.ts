import { join } from 'node:path';
import type { ArtifactReport } from '../../api/artifact-report.ts';
import { imageFilesPrefix, readImageFolder } from '../glance/image-files.ts';
import { logsFolder } from '../logs.ts';

/**
 * The path of a file of the build in the folder of the file store, which may be on another machine; null for one that is
 * not in the file store, or whose place is none of this build's.
 */
export function filePathOf(
  storeDirectory: string,
  buildId: string,
  { store, id, name }: Pick<ArtifactReport, 'store' | 'id' | 'name'>,
): string | null {
  if (store !== 'file' || name === '' || name.startsWith('.') || name.includes('/') || !id.endsWith(`/${name}`)) {
    return null;
  }
  const folder = id.slice(0, -(name.length + 1));
  const besideImage = folder.startsWith(imageFilesPrefix) && readImageFolder(folder.slice(imageFilesPrefix.length));
  const isOwn = [buildId, `${logsFolder}/${buildId}`].includes(folder);
  return isOwn || (besideImage && besideImage.buildId === buildId) ? join(storeDirectory, folder, name) : null;
}
