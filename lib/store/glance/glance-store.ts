import { fileURLToPath } from 'node:url';
import { retrying } from '../../http/retrying.ts';
import type { Artifacts, Origin, StoredArtifacts } from '../artifact.ts';
import type { Beside, FoundObject } from '../beside.ts';
import {
  describeAll,
  isBuildId,
  type ListOptions,
  listOf,
  mergeNewest,
  type Position,
  type StoredPage,
  selectNewest,
} from '../listing.ts';
import { openLogs } from '../logs.ts';
import { whyNotInCatalogue } from '../openstack/catalogued.ts';
import { storeError } from '../openstack/error.ts';
import { describeEndpoint } from '../openstack/session.ts';
import type { Store, StorePutOptions } from '../store.ts';
import { isOther, storedBuild } from '../stored-build.ts';
import { describeRoom, tryStore } from '../trial.ts';
import { createGlance } from './api.ts';
import { faultOf, type GlanceImage, toStored } from './image.ts';
import { type GlanceStoreOptions, removeImage, upload } from './upload.ts';

/**
 * Images in Glance. Glance takes whatever body it is given for an image (measured: empty, short or garbage ones become
 * active), so every image is checked after its upload and must have the size and digest of the file; otherwise it is
 * deleted and uploaded anew.
 *
 * Artifacts beside the image are no images, so they go to Swift, into a folder with the id of the image in Glance. They
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

  /** The image with everything beside it; null where any of it is missing or not whole. */
  async function readWhole(image: GlanceImage, signal: AbortSignal): Promise<StoredArtifacts | null> {
    if (!isWhole(image)) return null;
    const { imagebuilder_others: count = 0 } = image;
    const others = await (count === 0 ? files : beside).find(image.id, { signal });
    if (count !== 0 && others?.length !== count) return null;
    return [toStored(image, await session.endpoint('image', { signal })), ...(others ?? []).filter(isOther)];
  }

  async function find(buildId: string, { signal }: { readonly signal: AbortSignal }): Promise<StoredArtifacts | null> {
    for (const image of await glance.list(buildId, { signal })) {
      const stored = await readWhole(image, signal);
      if (stored !== null) return stored;
    }
    return null;
  }

  async function put(artifacts: Artifacts, origin: Origin, putOptions: StorePutOptions): Promise<StoredArtifacts> {
    const { signal } = putOptions;
    const { buildId } = origin;
    for (const found of await glance.list(buildId, { signal })) {
      const stored = await readWhole(found, signal);
      if (stored !== null) return stored;
      // The worker that made it is dead: a build is on one worker at a time.
      await removeImage(found, glance, options, signal);
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
      const stored = await readWhole(kept, signal);
      if (stored === null) continue;
      for (const other of images) if (other !== kept) await removeImage(other, glance, options, signal);
      return stored;
    }
    throw storeError('the image was in Glance and has gone again', { transient: true });
  }

  const describe: Store['describe'] = async (buildId, { signal }) => {
    const places = await placesOf(signal);
    const lookIn = async (look: (place: Beside) => Promise<FoundObject[]>) =>
      (await Promise.all(places.map(look))).flat();
    const kept = await lookIn((place) => openLogs(place).look(buildId, { signal }));
    const images = (await glance.list(buildId, { signal })).filter(isWhole);
    const [image] = images;
    if (image === undefined) return storedBuild(buildId, null, [], kept);
    const own = await lookIn((place) => place.look(image.id, { signal }));
    const described = {
      ...{ ticketId: image.ticket_id ?? null, series: image.imagebuilder_series ?? null },
      ...{ caller: image.imagebuilder_caller ?? null, storedAt: createdAt(image) },
      image: toStored(image, await session.endpoint('image', { signal })),
    };
    return storedBuild(buildId, described, own, kept);
  };

  async function list(options: ListOptions): Promise<StoredPage> {
    const { signal, after, limit } = options;
    const images = selectNewest(options);
    for await (const page of glance.newest(after?.storedAt ?? null, { signal })) {
      for (const image of page) {
        const { imagebuilder_build_id: buildId } = image;
        if (buildId !== undefined && isBuildId(buildId) && isWhole(image)) {
          images.add({ buildId, storedAt: createdAt(image) });
        }
      }
      const oldest = page.at(-1);
      if (oldest !== undefined && images.isFull(createdAt(oldest))) break;
    }
    const selected = images.selected();
    const withImage = new Set(selected.positions.map(({ buildId }) => buildId));
    const others = selectNewest(options);
    for (const logs of await logsOf(signal)) {
      for await (const position of logs.positions({ signal })) {
        if (!withImage.has(position.buildId)) others.add(position);
      }
    }
    const { items, next } = mergeNewest([listOf(selected), listOf(others.selected())], limit);
    const describeOne = async ({ buildId }: Position, either: AbortSignal) => {
      const build = await describe(buildId, { signal: either });
      // The image of this log is on another page.
      return build?.image !== null && !withImage.has(buildId) ? null : build;
    };
    return { builds: await describeAll(items, describeOne, signal), next };
  }

  async function remove(buildId: string, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    for (const image of await glance.list(buildId, { signal })) await removeImage(image, glance, options, signal);
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
    list,
    describe,
    async discard(buildId) {
      const signal = AbortSignal.timeout(discardMs);
      for (const image of await glance.list(buildId, { signal })) {
        if ((await readWhole(image, signal)) === null) await removeImage(image, glance, options, signal);
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
      { what: 'beside Glance', changes: false, look: (signal) => describeBeside(options, signal) },
      { what: 'Glance upload', changes: true, look: (signal) => tryStore({ put, remove }, signal, ['qcow2', 'raw']) },
    ],
  };
}

/** The place of artifacts beside images, in words. */
async function describeBeside({ session, files }: GlanceStoreOptions, signal: AbortSignal): Promise<string> {
  const reason = await whyNotInCatalogue(session, 'object-store', { signal });
  if (reason !== null) return `files other than images go to the folder ${fileURLToPath(files.where)}: ${reason}`;
  const endpoint = await session.endpoint('object-store', { signal });
  return `files other than images go to Swift at ${describeEndpoint(endpoint)}`;
}

const createdAt = (image: GlanceImage) => new Date(image.created_at).toISOString();

/** Whether the image has the size and digests that were recorded on it before it was uploaded. */
function isWhole(image: GlanceImage): boolean {
  const { imagebuilder_size: size, imagebuilder_sha256: sha256, imagebuilder_sha512: sha512 } = image;
  return sha256 !== undefined && sha512 !== undefined && faultOf(image, { size, sha256, sha512 }) === null;
}
