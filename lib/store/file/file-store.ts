import { mkdir, mkdtemp, opendir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ImageBuilderError, isNodeError } from '../../errors.ts';
import type { storeModes } from '../../folders/settings.ts';
import { type Artifacts, type Origin, type StoredArtifacts, type StoredOther, sumProgress } from '../artifact.ts';
import { describeAll, isBuildId, listOf, mergeNewest, selectNewest } from '../listing.ts';
import type { Store, StorePutOptions } from '../store.ts';
import { stateOf } from '../stored-build.ts';
import { tryStore } from '../trial.ts';
import { move, openPlace, removeFolder, sync, syncFiles } from './place.ts';
import {
  imageRecord,
  incomingPrefix,
  isWhole,
  logRecord,
  readImageRecord,
  readLogRecord,
  readOrigin,
  recordNames,
  storedAtIn,
} from './records.ts';

/**
 * The embedded store: a folder per build, `<directory>/<build id>/`, with the artifacts, `image.json` and `SHA256SUMS`.
 * The folder appears by one rename, so a reader sees all of them whole, or none. The log of a build is added to it
 * later, with `log.json`; for a build without an image, the two are all that its folder has. `readers` may read what is
 * put from then on.
 */
export function createFileStore(directory: string, readers: keyof typeof storeModes = 'owner'): Store {
  const place = openPlace(directory, readers);
  const { modes, failed } = place;
  const folder = (buildId: string) => join(directory, buildId);
  const at = (buildId: string, name: string) => ({
    location: pathToFileURL(join(folder(buildId), name)).href,
    store: 'file' as const,
  });
  const placed = <Other extends { readonly name: string }>(buildId: string, other: Other) => ({
    ...{ ...other, id: `${buildId}/${other.name}` },
    ...at(buildId, other.name),
  });

  async function find(buildId: string): Promise<StoredArtifacts | null> {
    try {
      const { others = [], build: _, ...image } = await readImageRecord(folder(buildId));
      for (const file of [image, ...others]) if (!(await isWhole(folder(buildId), file))) return null;
      return [{ ...image, id: buildId, ...at(buildId, image.name) }, ...others.map((other) => placed(buildId, other))];
    } catch (error) {
      if (isNodeError(error) && error.code !== 'ENOENT') throw failed(error);
      return null;
    }
  }

  async function put(artifacts: Artifacts, origin: Origin, options: StorePutOptions): Promise<StoredArtifacts> {
    const { buildId } = origin;
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
      await writeFile(join(target, recordNames.image), imageRecord(artifacts, origin));
      for (const name of await readdir(target)) await place.admit(join(target, name), modes.file);
      await place.admit(target, modes.folder);
      options.signal.throwIfAborted();
      await syncFiles(target);
      await publish(target, buildId);
      await sync(directory);
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

  const keepLog: Store['keepLog'] = async (log, origin, options) => {
    const { buildId } = origin;
    let incoming: string | undefined;
    try {
      await mkdir(directory, { recursive: true, mode: modes.folder });
      incoming = await mkdtemp(join(directory, incomingPrefix(buildId)));
      await move(log.path, join(incoming, log.name), { ...options, onProgress: () => {} });
      await writeFile(join(incoming, recordNames.log), logRecord(log, origin));
      await syncFiles(incoming);
      options.signal.throwIfAborted();
      const made = await mkdir(folder(buildId), { recursive: true, mode: modes.folder });
      if (made !== undefined) await place.admit(folder(buildId), modes.folder);
      for (const name of [log.name, recordNames.log]) {
        await place.admit(join(incoming, name), modes.file);
        await rename(join(incoming, name), join(folder(buildId), name));
      }
      await sync(folder(buildId));
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
      const { build: _, ...record } = await readLogRecord(folder(buildId));
      return (await isWhole(folder(buildId), record)) ? placed(buildId, record) : null;
    } catch (error) {
      if (isNodeError(error) && error.code !== 'ENOENT') throw failed(error);
      return null;
    }
  }

  const describe: Store['describe'] = async (buildId) => {
    const from = folder(buildId);
    try {
      const origin = (await readOrigin(from, recordNames.image)) ?? (await readOrigin(from, recordNames.log));
      if (origin === null) return null;
      const { others = [], build: _, ...image } = await readImageRecord(from).catch(() => noImage);
      const present: StoredOther[] = [];
      for (const other of others) if (await isWhole(from, other)) present.push(placed(buildId, other));
      const log = await findLog(buildId);
      const artifacts = [...present, ...(log === null ? [] : [log])];
      const isThere = 'name' in image && (await isWhole(from, image));
      const found = isThere ? { ...image, id: buildId, ...at(buildId, image.name) } : null;
      return {
        ...{ buildId, ...origin },
        state: stateOf(found, present.length, 'name' in image ? others.length : null),
        image: found,
        artifacts: artifacts.sort((one, other) => (one.name < other.name ? -1 : 1)),
      };
    } catch (error) {
      throw failed(error);
    }
  };

  const list: Store['list'] = async (options) => {
    const selection = selectNewest(options);
    for await (const buildId of buildIds()) {
      options.signal.throwIfAborted();
      const storedAt = await storedAtIn(folder(buildId), ownRecords);
      if (storedAt !== null) selection.add({ buildId, storedAt });
    }
    const { items, next } = mergeNewest([listOf(selection.selected())], options.limit);
    const builds = await describeAll(items, ({ buildId }) => describe(buildId, options), options.signal);
    return { builds, next };
  };

  async function* buildIds(): AsyncGenerator<string, void> {
    try {
      for await (const entry of await opendir(directory)) {
        if (entry.isDirectory() && isBuildId(entry.name)) yield entry.name;
      }
    } catch (error) {
      if (!isNodeError(error) || error.code !== 'ENOENT') throw failed(error);
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

  const discard = (buildId: string) => place.discard(buildId);

  async function remove(buildId: string): Promise<void> {
    try {
      if ((await storedAtIn(folder(buildId), ownRecords)) !== null)
        await removeFolder(directory, buildId, folder(buildId));
      await discard(buildId);
    } catch (error) {
      throw failed(error);
    }
  }

  return {
    kind: 'file',
    directory,
    isThere: async () => true,
    find,
    put,
    keepLog,
    findLog,
    list,
    describe,
    discard,
    remove,
    checks: [{ what: 'file store', changes: true, look: (signal) => tryStore({ put, remove }, signal, ['qcow2']) }],
  };
}

/** Files beside images that are in Glance have another record. */
const ownRecords = [recordNames.image, recordNames.log];

/** The record of a build that has a log alone. */
const noImage = { others: [], build: undefined };
