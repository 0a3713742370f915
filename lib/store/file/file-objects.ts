import { constants } from 'node:fs';
import { copyFile, mkdir, mkdtemp, opendir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isNodeError, toImageBuilderError } from '../../errors.ts';
import { openPrivateFolder } from '../../folders/private-folder.ts';
import type { storeModes } from '../../folders/settings.ts';
import type { Log } from '../../log.ts';
import type { OtherArtifact } from '../artifact.ts';
import type { Beside, FoundObject } from '../beside.ts';
import { openPlace, removeFolder, sync, syncFiles } from './place.ts';
import {
  incomingPrefix,
  isWhole,
  othersRecord,
  readOrigin,
  readOthersRecord,
  recordNames,
  storedAtIn,
} from './records.ts';

/**
 * Artifacts beside images that are elsewhere, in the folder of the file store: each set in a folder
 * `<directory>/<folder>/` with `others.json`, which appears by one rename. They are on this machine only.
 */
export interface FileObjects extends Beside {
  /** Makes the folder of the store where it is missing. Resolves with the reason why it cannot be used, or null. */
  whyUnusable(): Promise<string | null>;
}

export interface FileObjectsOptions {
  readonly directory: string;
  readonly readers: keyof typeof storeModes;
  readonly log: Log;
}

export function openFileObjects({ directory, readers, log }: FileObjectsOptions): FileObjects {
  const { modes, admit, discard, failed } = openPlace(directory, readers);
  const idOf = (folder: string) => folder.split(/[/.]/).at(-1) ?? folder;

  const look: Beside['look'] = async (folder) => {
    const path = join(directory, folder);
    try {
      const origin = await readOrigin(path, recordNames.others).catch(nothingOfOurs);
      if (origin === null) return [];
      const { storedAt, ...about } = origin;
      const { build_id: buildId, files } = await readOthersRecord(path);
      const found: FoundObject[] = [];
      for (const file of files) {
        if (!(await isWhole(path, file))) continue;
        const location = pathToFileURL(join(path, file.name)).href;
        const object = { ...file, id: `${folder}/${file.name}`, location, store: 'file' as const };
        found.push({ object, ofSet: files.length, origin: { ...about, buildId }, storedAt });
      }
      return found;
    } catch (error) {
      throw failed(error);
    }
  };

  const remove: Beside['remove'] = async (folder) => {
    const path = join(directory, folder);
    try {
      if ((await storedAtIn(path, [recordNames.others]).catch(nothingOfOurs)) !== null)
        await removeFolder(directory, idOf(folder), path);
      await discard(idOf(folder));
    } catch (error) {
      throw failed(error);
    }
  };

  return {
    where: pathToFileURL(directory).href,
    isShared: false,
    async whyUnusable() {
      const folder = { path: directory, variable: 'IMAGEBUILDER_STORE_DIRECTORY', mode: modes.folder };
      try {
        await openPrivateFolder(folder, { log });
        return null;
      } catch (error) {
        return toImageBuilderError(error).message;
      }
    },
    look,
    remove,
    discard: async (folder) => await discard(idOf(folder)),
    async find(folder) {
      const found = await look(folder, { signal: never });
      return found.length === 0 ? null : found.map(({ object }) => object);
    },
    async put(folder, artifacts, origin, { signal, onProgress }) {
      const others = artifacts.filter((artifact): artifact is OtherArtifact => artifact.role !== 'image');
      let incoming: string | undefined;
      try {
        incoming = await mkdtemp(join(directory, incomingPrefix(idOf(folder))));
        let bytes = 0;
        for (const { name, path, sizeBytes } of others) {
          // A copy: the upload of the image may start anew, with these files once more.
          await copyFile(path, join(incoming, name), constants.COPYFILE_FICLONE);
          if ((await stat(join(incoming, name))).size !== sizeBytes)
            throw new Error(`${name} changed its size on the way`);
          signal.throwIfAborted();
          bytes += sizeBytes;
          onProgress(bytes, bytes);
        }
        await writeFile(join(incoming, recordNames.others), othersRecord(others, origin));
        for (const name of await readdir(incoming)) await admit(join(incoming, name), modes.file);
        await admit(incoming, modes.folder);
        await syncFiles(incoming);
        const parent = dirname(join(directory, folder));
        if ((await mkdir(parent, { recursive: true, mode: modes.folder })) !== undefined)
          await admit(parent, modes.folder);
        await removeFolder(directory, idOf(folder), join(directory, folder));
        await rename(incoming, join(directory, folder));
        await sync(parent);
      } catch (error) {
        if (incoming !== undefined) await rm(incoming, { recursive: true, force: true });
        signal.throwIfAborted();
        throw failed(error);
      }
      return (await look(folder, { signal })).map(({ object }) => object);
    },
    async *folders(prefix) {
      const parent = prefix.slice(0, prefix.lastIndexOf('/') + 1);
      try {
        for await (const entry of await opendir(join(directory, parent))) {
          const name = parent + entry.name;
          if (!name.startsWith(prefix)) continue;
          const storedAt = await storedAtIn(join(directory, name), [recordNames.others]).catch(nothingOfOurs);
          if (storedAt !== null) yield { name, storedAt };
        }
      } catch (error) {
        if (!isNodeError(error) || !['ENOENT', 'EACCES', 'ENOTDIR'].includes(error.code ?? '')) throw failed(error);
      }
    },
  };
}

/** A folder that this user may not look into has nothing that it has put there. */
function nothingOfOurs(error: unknown): null {
  if (isNodeError(error) && error.code === 'EACCES') return null;
  throw error;
}

const never = new AbortController().signal;
