import { fileURLToPath } from 'node:url';
import { retrying } from '../../http/retrying.ts';
import type { Artifacts, Origin, StoredArtifacts } from '../artifact.ts';
import type { Beside } from '../beside.ts';
import { openLogs } from '../logs.ts';
import { whyNotInCatalogue } from '../openstack/catalogued.ts';
import { storeError } from '../openstack/error.ts';
import { describeEndpoint } from '../openstack/session.ts';
import type { Store, StorePutOptions } from '../store.ts';
import { isOther } from '../stored-build.ts';
import { describeRoom, tryStore } from '../trial.ts';
import { createGlance, type Glance } from './api.ts';
import { openGlanceBuilds } from './builds.ts';
import { type GlanceImage, isWhole, toStored } from './image.ts';
import { imageFilesOf, imageFolders } from './image-files.ts';
import { type GlanceStoreOptions, removeImage, upload } from './upload.ts';

/**
 * Images in Glance. Glance takes whatever body it is given for an image (measured: empty, short or garbage ones become
 * active), so every image is checked after its upload and must have the size and digest of the file; otherwise it is
 * deleted and uploaded anew.
 *
 * Artifacts beside the image are no images, so they go to Swift, into a folder that names the image in Glance. They
 * are there before the image is active, and the image's properties say how many they are. Logs of builds go to Swift too.
 *
 * In a cloud without Swift, both go to the folder of the file store. They are on that machine only, so an image is whole
 * without them.
 */

const uploadAttempts = 5;
/** Time limit of the clean-up of a build that has failed. */
const discardMs = 20_000;

export function createGlanceStore(options: GlanceStoreOptions): Store {
  const { session, beside, files, log } = options;
  const glance = createGlance(session);

  /** The places that may have something; the first is that for new artifacts. */
  async function placesOf(signal: AbortSignal): Promise<readonly [Beside, ...Beside[]]> {
    return (await whyNotInCatalogue(session, 'object-store', { signal })) === null ? [beside, files] : [files];
  }
  const whyUnusable = async (place: Beside) => (place.isShared ? null : await files.whyUnusable());
  const logsOf = async (signal: AbortSignal) => (await placesOf(signal)).map(openLogs);

  const builds = openGlanceBuilds({ glance, session, placesOf });

  /** The image with everything beside it; null where any of it is missing or not whole. */
  async function readWhole(image: GlanceImage, buildId: string, signal: AbortSignal): Promise<StoredArtifacts | null> {
    if (!isWhole(image)) return null;
    const { imagebuilder_others: count = 0 } = image;
    const others = await (count === 0 ? files : beside).find(imageFilesOf(buildId, image.id), { signal });
    if (count !== 0 && others?.length !== count) return null;
    return [toStored(image, await session.endpoint('image', { signal })), ...(others ?? []).filter(isOther)];
  }

  async function find(buildId: string, { signal }: { readonly signal: AbortSignal }): Promise<StoredArtifacts | null> {
    for (const image of await glance.list(buildId, { signal })) {
      const stored = await readWhole(image, buildId, signal);
      if (stored !== null) return stored;
    }
    return null;
  }

  async function put(artifacts: Artifacts, origin: Origin, putOptions: StorePutOptions): Promise<StoredArtifacts> {
    const { signal } = putOptions;
    const { buildId } = origin;
    for (const found of await glance.list(buildId, { signal })) {
      const stored = await readWhole(found, buildId, signal);
      if (stored !== null) return stored;
      // The worker that made it is dead: a build is on one worker at a time.
      await removeImage(found, buildId, glance, options, signal);
    }
    const [place] = await placesOf(signal);
    const kept = await keepable(artifacts, buildId, place);
    return retrying(
      async (attempt) => {
        const present = attempt === 1 ? null : await find(buildId, { signal });
        if (present !== null) return present;
        await upload(kept, origin, glance, { ...options, ...putOptions, place });
        return keepOne(buildId, signal);
      },
      {
        signal,
        policy: { ...options.retry, attempts: uploadAttempts },
        onRetry: (error, attempt) =>
          log.warn('an upload failed and starts anew', { store: 'glance', build_id: buildId, attempt, error }),
      },
    );
  }

  /** The artifacts that there is a place for: the image alone where the folder of the file store cannot be used. */
  async function keepable(artifacts: Artifacts, buildId: string, place: Beside): Promise<Artifacts> {
    const [image, ...others] = artifacts;
    const reason = others.length === 0 ? null : await whyUnusable(place);
    if (reason === null) return artifacts;
    const roles = others.map(({ role }) => role);
    log.warn('there is no place for files beside images, so they are not kept', { build_id: buildId, roles, reason });
    return [image];
  }

  /** Keeps the oldest whole image of the build, from any worker, and removes all others of the build. */
  async function keepOne(buildId: string, signal: AbortSignal): Promise<StoredArtifacts> {
    const images = await glance.list(buildId, { signal });
    for (const kept of images) {
      const stored = await readWhole(kept, buildId, signal);
      if (stored === null) continue;
      for (const other of images) if (other !== kept) await removeImage(other, buildId, glance, options, signal);
      return stored;
    }
    throw storeError('the image was in Glance and has gone again', { transient: true });
  }

  async function remove(buildId: string, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    for (const image of await glance.list(buildId, { signal }))
      await removeImage(image, buildId, glance, options, signal);
    for (const place of await placesOf(signal)) {
      for await (const { folder } of imageFolders(place, buildId, { signal })) await place.remove(folder, { signal });
    }
    for (const logs of await logsOf(signal)) await logs.remove(buildId, { signal });
  }

  return {
    kind: 'glance',
    directory: null,
    isThere: async (options) => (await whyNotInCatalogue(session, 'image', options)) === null,
    find,
    put,
    async keepLog(file, origin, { signal }) {
      const [place] = await placesOf(signal);
      const reason = await whyUnusable(place);
      if (reason === null) return await openLogs(place).keep(file, origin, { signal });
      log.info('the log of a build is not kept: there is no place for files beside images', { reason });
      return null;
    },
    async findLog(buildId, { signal }) {
      for (const logs of await logsOf(signal)) {
        const found = await logs.find(buildId, { signal });
        if (found !== null) return found;
      }
      return null;
    },
    list: builds.list,
    describe: builds.describe,
    async discard(buildId) {
      const signal = AbortSignal.timeout(discardMs);
      for (const image of await glance.list(buildId, { signal })) {
        if ((await readWhole(image, buildId, signal)) === null)
          await removeImage(image, buildId, glance, options, signal);
      }
      for (const logs of await logsOf(signal)) await logs.discard(buildId, { signal });
    },
    remove,
    checks: [
      {
        what: 'Glance',
        changes: false,
        look: async (signal) => describeEndpoint(await session.endpoint('image', { signal })),
      },
      { what: 'Glance quota', changes: false, look: async (signal) => describeRoom(await glance.room({ signal })) },
      { what: 'beside Glance', changes: false, look: (signal) => describeBeside(options, glance, signal) },
      { what: 'Glance upload', changes: true, look: (signal) => tryStore({ put, remove }, signal, ['qcow2', 'raw']) },
    ],
  };
}

/** The place of artifacts beside images, in words. */
async function describeBeside(
  { session, beside, files }: GlanceStoreOptions,
  glance: Glance,
  signal: AbortSignal,
): Promise<string> {
  const reason = await whyNotInCatalogue(session, 'object-store', { signal });
  const left = await describeLeft(reason === null ? beside : files, glance, signal);
  if (reason !== null)
    return `files other than images go to the folder ${fileURLToPath(files.where)}: ${reason}${left}`;
  const endpoint = await session.endpoint('object-store', { signal });
  return `files other than images go to Swift at ${describeEndpoint(endpoint)}${left}`;
}

/** The number of images whose files are there without them, in words; empty where there is none. */
async function describeLeft(place: Beside, glance: Glance, signal: AbortSignal): Promise<string> {
  // Images come before their folders, so they are listed after them.
  const folders = await Array.fromAsync(imageFolders(place, null, { signal }));
  if (folders.length === 0) return '';
  const images = await glance.ids({ signal });
  const left = folders.filter(({ imageId }) => !images.has(imageId)).length;
  if (left === 0) return '';
  const whose = left === 1 ? 'one image that is' : `${left} images that are`;
  return `; there are files of ${whose} in Glance no more: imagebuilder images shows and deletes them`;
}
