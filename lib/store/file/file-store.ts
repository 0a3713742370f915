import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { ArtifactRole } from '../../api/artifact-report.ts';
import { Checksums, ImageResult } from '../../api/image-result.ts';
import { ImageBuilderError, isNodeError, isNoSpace } from '../../errors.ts';
import { storeModes } from '../../folders/settings.ts';
import { writeSparse } from '../../write-sparse.ts';
import {
  type Artifact,
  type Artifacts,
  type Origin,
  type OtherArtifact,
  type StoredArtifacts,
  type StoredOther,
  sumProgress,
} from '../artifact.ts';
import type { Store, StorePutOptions } from '../store.ts';
import { tryStore } from '../trial.ts';

const File = z.object({ name: z.string(), size: z.int(), checksums: Checksums });

/** Name of the file that describes the log of a build. */
const logRecord = 'log.json';

const OtherFile = File.extend({ role: ArtifactRole, media_type: z.string() });

/** The content of `image.json`, beside an image. */
const Record = File.extend({
  format: ImageResult.shape.format,
  /** The artifacts beside the image, where there are any. */
  others: z.array(OtherFile).optional(),
});

/**
 * The embedded store: a folder per build, `<directory>/<build id>/`, with the artifacts, `image.json` and `SHA256SUMS`.
 * The folder appears by one rename, so a reader sees all of them whole, or none. The log of a build is added to it
 * later, with `log.json`; for a build without an image, the two are all that its folder has. `readers` may read what is
 * put from then on.
 */
export function createFileStore(directory: string, readers: keyof typeof storeModes = 'owner'): Store {
  const modes = storeModes[readers];
  const folder = (buildId: string) => join(directory, buildId);
  const at = (buildId: string, name: string) => ({
    location: pathToFileURL(join(folder(buildId), name)).href,
    store: 'file' as const,
  });
  const incomingPrefix = (buildId: string) => `.incoming-${buildId}.`;

  async function find(buildId: string): Promise<StoredArtifacts | null> {
    try {
      const record = Record.parse(JSON.parse(await readFile(join(folder(buildId), 'image.json'), 'utf8')));
      const { others = [], ...image } = record;
      for (const { name, size } of [image, ...others]) {
        if ((await stat(join(folder(buildId), name))).size !== size) return null;
      }
      return [
        { ...image, id: buildId, ...at(buildId, image.name) },
        ...others.map((other) => ({ ...other, id: `${buildId}/${other.name}`, ...at(buildId, other.name) })),
      ];
    } catch (error) {
      if (isNodeError(error) && error.code !== 'ENOENT') throw failed(error);
      return null;
    }
  }

  async function put(artifacts: Artifacts, { buildId }: Origin, options: StorePutOptions): Promise<StoredArtifacts> {
    const present = await find(buildId);
    if (present !== null) return present;
    let target: string | undefined;
    try {
      await mkdir(directory, { recursive: true, mode: modes.folder });
      // One folder for each attempt: an earlier attempt may not have noticed yet that it was given up.
      target = await mkdtemp(join(directory, incomingPrefix(buildId)));
      const report = sumProgress(artifacts, options.onProgress);
      for (const { name, path, sizeBytes } of artifacts) {
        await move(path, join(target, name), { ...options, onProgress: (bytes) => report(name, bytes) });
        if ((await stat(join(target, name))).size !== sizeBytes) throw new Error(`${name} changed its size on the way`);
        options.signal.throwIfAborted();
      }
      const sums = artifacts.map(({ name, checksums }) => `${checksums.sha256} *${name}\n`);
      await writeFile(join(target, 'SHA256SUMS'), sums.join(''));
      await writeFile(join(target, 'image.json'), `${JSON.stringify(recordOf(artifacts), null, 2)}\n`);
      for (const name of await readdir(target)) await admitReaders(join(target, name), modes.file);
      await admitReaders(target, modes.folder);
      options.signal.throwIfAborted();
      await syncFolder(target);
      await publish(target, buildId);
      await syncFolder(directory);
    } catch (error) {
      if (target !== undefined) await rm(target, { recursive: true, force: true });
      options.signal.throwIfAborted();
      const other = await find(buildId);
      if (other === null) throw failed(error);
      return other;
    }
    // Leftovers of attempts that died here, or have not noticed yet that they were given up.
    await discard(buildId);
    const stored = await find(buildId);
    if (stored === null) throw new ImageBuilderError('store.failed', 'the image is not in the store after it was put');
    return stored;
  }

  const keepLog: Store['keepLog'] = async (log, { buildId }, options) => {
    let incoming: string | undefined;
    try {
      await mkdir(directory, { recursive: true, mode: modes.folder });
      incoming = await mkdtemp(join(directory, incomingPrefix(buildId)));
      await move(log.path, join(incoming, log.name), { ...options, onProgress: () => {} });
      await writeFile(join(incoming, logRecord), `${JSON.stringify(otherOf(log), null, 2)}\n`);
      options.signal.throwIfAborted();
      const made = await mkdir(folder(buildId), { recursive: true, mode: modes.folder });
      if (made !== undefined) await admitReaders(folder(buildId), modes.folder);
      for (const name of [log.name, logRecord]) {
        await admitReaders(join(incoming, name), modes.file);
        await rename(join(incoming, name), join(folder(buildId), name));
      }
      await syncFolder(folder(buildId));
    } catch (error) {
      options.signal.throwIfAborted();
      throw failed(error);
    } finally {
      if (incoming !== undefined) await rm(incoming, { recursive: true, force: true });
    }
    return await findLog(buildId);
  };

  async function findLog(buildId: string): Promise<StoredOther | null> {
    try {
      const record = OtherFile.parse(JSON.parse(await readFile(join(folder(buildId), logRecord), 'utf8')));
      if ((await stat(join(folder(buildId), record.name))).size !== record.size) return null;
      return { ...record, id: `${buildId}/${record.name}`, ...at(buildId, record.name) };
    } catch (error) {
      if (isNodeError(error) && error.code !== 'ENOENT') throw failed(error);
      return null;
    }
  }

  /** Gives the folder its name, unless another attempt at this build was faster: its image stays then. */
  async function publish(target: string, buildId: string): Promise<void> {
    try {
      await rename(target, folder(buildId));
    } catch (error) {
      if (!isNodeError(error) || (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST')) throw error;
      if ((await find(buildId)) === null) {
        // Not whole: the leftover of a machine that lost power.
        await rm(folder(buildId), { recursive: true, force: true });
        await rename(target, folder(buildId));
      } else {
        await rm(target, { recursive: true, force: true });
      }
    }
  }

  /** Gives the group access. It is the one that the operator has set on the store's folder. */
  async function admitReaders(path: string, mode: number): Promise<void> {
    if (readers === 'group') await chown(path, (await stat(path)).uid, (await stat(directory)).gid);
    await chmod(path, mode);
  }

  async function discard(buildId: string): Promise<void> {
    const names = await readdir(directory).catch(() => []);
    for (const name of names.filter((candidate) => candidate.startsWith(incomingPrefix(buildId)))) {
      // Under another name first: an attempt that still writes makes no more files in it while it is removed.
      const taken = join(directory, `${incomingPrefix(buildId)}${randomUUID()}`);
      if (await renamed(join(directory, name), taken)) await rm(taken, { recursive: true, force: true });
    }
  }

  async function remove(buildId: string): Promise<void> {
    await rm(folder(buildId), { recursive: true, force: true });
    await discard(buildId);
  }

  return {
    kind: 'file',
    directory,
    find,
    put,
    keepLog,
    findLog,
    discard,
    remove,
    checks: [{ what: 'file store', changes: true, look: (signal) => tryStore({ put, remove }, signal, ['qcow2']) }],
  };

  function failed(error: unknown): ImageBuilderError {
    if (isNoSpace(error)) {
      return new ImageBuilderError('disk.full', `no space is left in the store directory ${directory}`, {
        cause: error,
      });
    }
    const reason = error instanceof Error ? error.message : String(error);
    return new ImageBuilderError('store.failed', `the file store at ${directory} failed: ${reason}`, { cause: error });
  }
}

function recordOf([image, ...others]: Artifacts): z.input<typeof Record> {
  const sorted = others.toSorted((one, other) => (one.name < other.name ? -1 : 1));
  const records = sorted.map(otherOf);
  return { ...fileOf(image), format: image.format, ...(records.length === 0 ? {} : { others: records }) };
}

function otherOf(other: OtherArtifact): z.input<typeof OtherFile> {
  return { ...fileOf(other), role: other.role, media_type: other.mediaType };
}

function fileOf({ name, sizeBytes: size, checksums }: Artifact): z.input<typeof File> {
  return { name, size, checksums };
}

/** False where there is nothing to rename (any more). */
async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** Renames, or copies where the two lie on different file systems, and flushes the data to the disk. */
async function move(from: string, to: string, options: StorePutOptions): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!isNodeError(error) || error.code !== 'EXDEV') throw error;
    await copySparse(from, to, options);
  }
  const file = await open(to, 'r+');
  try {
    await file.sync();
    const { size } = await file.stat();
    options.onProgress(size, size);
  } finally {
    await file.close();
  }
}

/** A raw disk is mostly empty, and its holes are not to fill the store. */
async function copySparse(from: string, to: string, { signal, onProgress }: StorePutOptions): Promise<void> {
  const { size } = await stat(from);
  await using target = await open(to, 'wx');
  let copied = 0;
  for await (const chunk of createReadStream(from, { highWaterMark: 1024 * 1024, signal })) {
    await writeSparse(target, chunk, copied);
    copied += chunk.length;
    onProgress(copied, size);
  }
  await target.truncate(copied);
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
