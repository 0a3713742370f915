import { z } from 'zod';
import { bytes, folder } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Folders of this machine, and how large the caches in them get. */
export const folderSettings = {
  workDirectory: setting(
    'IMAGEBUILDER_WORK_DIRECTORY',
    folder,
    '/var/lib/imagebuilder/work',
    'Folder in which builds work; it needs room for one image and its changes for each parallel build.',
  ),
  cacheDirectory: setting(
    'IMAGEBUILDER_CACHE_DIRECTORY',
    folder,
    '/var/lib/imagebuilder/cache',
    'Folder of base images, package lists and packages, which all builds share.',
  ),
  storeDirectory: setting(
    'IMAGEBUILDER_STORE_DIRECTORY',
    folder,
    '/var/lib/imagebuilder/store',
    'Folder into which the file store puts finished images; with Glance in a cloud without Swift, the files beside them and logs.',
  ),
  storeReaders: setting(
    'IMAGEBUILDER_STORE_READERS',
    z.enum(['owner', 'group', 'everyone'], { error: 'must be owner, group or everyone' }),
    'owner',
    'Users of the machine who may read images in the file store: `owner`, only the user that `build-worker` runs as; `group`, also the group of the store’s folder; `everyone`.',
  ),
  imageCacheBytes: setting(
    'IMAGEBUILDER_IMAGE_CACHE_SIZE',
    bytes,
    '20G',
    'Size of the cache of base images. The least recently used ones are dropped first. What they leave of it is for uncompressed copies of them, over which images are opened faster.',
  ),
  aptCacheBytes: setting(
    'IMAGEBUILDER_APT_CACHE_SIZE',
    bytes,
    '10G',
    'Size of the cache of package lists and packages.',
  ),
  finishedCacheBytes: setting(
    'IMAGEBUILDER_FINISHED_CACHE_SIZE',
    bytes,
    '5G',
    'Size of the cache of finished images: the same request gets its image from there, where building it anew would put the same packages into the same base image. The least recently used ones are dropped first, and before other caches where a build needs room. 0 keeps none.',
  ),
  layersCacheBytes: setting(
    'IMAGEBUILDER_LAYERS_CACHE_SIZE',
    bytes,
    '5G',
    'Size of the cache of layers: base images into which the packages of the distribution that several requests need are installed once. The least recently used ones are dropped first, and before base images where a build needs room. 0 makes none.',
  ),
} as const satisfies Declarations;

export type FolderSettings = SettingsOf<typeof folderSettings>;
