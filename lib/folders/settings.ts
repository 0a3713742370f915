import { tmpdir } from 'node:os';
import type { FolderSettings } from '../config/folders.ts';
import type { PrivateFolder } from './private-folder.ts';

export interface FolderOfBuilds extends PrivateFolder {
  /** Its purpose. */
  readonly name: 'work' | 'cache' | 'store' | 'temporary';
}

/**
 * Other users may pass through the folders for work and caches, to files of their own whose path they know, but can
 * neither list nor lock them: a program that a worker starts as another user has its own files below.
 */
const passable = 0o711;

/** Permission bits in the file store, by who may read it. */
export const storeModes = {
  owner: { folder: 0o700, file: 0o600 },
  group: { folder: 0o750, file: 0o640 },
  everyone: { folder: 0o755, file: 0o644 },
} as const satisfies Record<FolderSettings['storeReaders'], { folder: number; file: number }>;

/** The folders that builds write to; that of the file store where images go there. */
export function foldersOfBuilds(settings: FolderSettings, options: { readonly fileStore: boolean }): FolderOfBuilds[] {
  const { workDirectory, cacheDirectory, storeDirectory, storeReaders } = settings;
  const store: FolderOfBuilds = {
    name: 'store',
    path: storeDirectory,
    variable: 'IMAGEBUILDER_STORE_DIRECTORY',
    mode: storeModes[storeReaders].folder,
  };
  return [
    { name: 'work', path: workDirectory, variable: 'IMAGEBUILDER_WORK_DIRECTORY', mode: passable },
    { name: 'cache', path: cacheDirectory, variable: 'IMAGEBUILDER_CACHE_DIRECTORY', mode: passable },
    ...(options.fileStore ? [store] : []),
    { name: 'temporary', path: tmpdir(), variable: 'TMPDIR', mode: 'shared' },
  ];
}
