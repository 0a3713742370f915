import { sleep } from '../../async.ts';
import { type RetryPolicy, retrying } from '../../http/retrying.ts';
import { UpstreamError } from '../../http/upstream-error.ts';
import type { Log } from '../../log.ts';
import { storeError } from '../openstack/error.ts';
import { describeEndpoint, type Session } from '../openstack/session.ts';
import type { FinishedImage, Store, StoredImage, StorePutOptions } from '../store.ts';
import { describeRoom, tryStore } from '../trial.ts';
import { createGlance, type Glance } from './api.ts';
import {
  describingProperties,
  faultOf,
  type GlanceImage,
  hasUnknownDigest,
  identifyingProperties,
  newImage,
  toStored,
} from './image.ts';

/**
 * Images in Glance. Glance takes whatever body it is given for an image (measured: empty, short or garbage ones become
 * active), so every image is checked after its upload and must have the size and digest of the file; otherwise it is
 * deleted and uploaded anew.
 */

export interface GlanceStoreOptions {
  readonly session: Session;
  readonly visibility: 'private' | 'shared' | 'community' | 'public';
  /** Properties for every image: `hw_disk_bus` and the like. */
  readonly properties: Readonly<Record<string, string>>;
  readonly retry: RetryPolicy;
  readonly log: Log;
}

const uploadAttempts = 5;
/** Time that an image may stay in `saving` after all of it was sent. */
const settleMs = 60_000;
const settlePollMs = 500;
/** Time limit of the clean-up after a failure or a cancel. */
const removalMs = 20_000;

export function createGlanceStore(options: GlanceStoreOptions): Store {
  const { session, log } = options;
  const glance = createGlance(session);

  async function find(buildId: string, { signal }: { readonly signal: AbortSignal }): Promise<StoredImage | null> {
    const image = (await glance.list(buildId, { signal })).find(isWhole);
    return image === undefined ? null : toStored(image, await session.endpoint('image', { signal }));
  }

  async function put(image: FinishedImage, putOptions: StorePutOptions): Promise<StoredImage> {
    const { signal } = putOptions;
    for (const found of await glance.list(image.buildId, { signal })) {
      if (isWhole(found)) return toStored(found, await session.endpoint('image', { signal }));
      // The worker that made it is dead: a build is on one worker at a time.
      await glance.remove(found.id, { signal });
    }
    return retrying(
      async (attempt) => {
        const present = attempt === 1 ? null : await find(image.buildId, { signal });
        if (present !== null) return present;
        await uploadImage(image, glance, { ...options, ...putOptions });
        return keepOne(image.buildId, signal);
      },
      {
        signal,
        policy: { ...options.retry, attempts: uploadAttempts },
        onRetry: (error, attempt) =>
          log.warn('an upload failed and starts anew', { store: 'glance', build_id: image.buildId, attempt, error }),
      },
    );
  }

  /** Keeps the oldest whole image of the build, from any worker, and removes all others of the build. */
  async function keepOne(buildId: string, signal: AbortSignal): Promise<StoredImage> {
    const images = await glance.list(buildId, { signal });
    const kept = images.find(isWhole);
    if (kept === undefined) {
      throw storeError('the image was in Glance and has gone again', { transient: true });
    }
    for (const other of images) if (other !== kept) await glance.remove(other.id, { signal });
    return toStored(kept, await session.endpoint('image', { signal }));
  }

  return {
    kind: 'glance',
    find,
    put,
    async discard(buildId) {
      const signal = AbortSignal.timeout(removalMs);
      for (const image of await glance.list(buildId, { signal })) {
        if (!isWhole(image)) await glance.remove(image.id, { signal });
      }
    },
    checks: [
      {
        what: 'Glance',
        changes: false,
        look: async (signal) => describeEndpoint(await session.endpoint('image', { signal })),
      },
      { what: 'Glance quota', changes: false, look: async (signal) => describeRoom(await glance.room({ signal })) },
      {
        what: 'Glance upload',
        changes: true,
        look: (signal) => tryStore({ put }, signal, (id) => glance.remove(id, { signal })),
      },
    ],
  };
}

/** Whether the image has the size and digests that were recorded on it before it was uploaded. */
function isWhole(image: GlanceImage): boolean {
  const { imagebuilder_size: size, imagebuilder_sha256: sha256, imagebuilder_sha512: sha512 } = image;
  return sha256 !== undefined && sha512 !== undefined && faultOf(image, { size, sha256, sha512 }) === null;
}

/** Creates an image and uploads it; on any failure, or when the signal aborts, it is deleted again. */
async function uploadImage(
  image: FinishedImage,
  glance: Glance,
  options: GlanceStoreOptions & StorePutOptions,
): Promise<void> {
  const { signal, log, onProgress } = options;
  const { id } = await create(image, glance, options);
  try {
    const body = {
      path: image.path,
      startByte: 0,
      bytes: image.sizeBytes,
      onProgress: (sent: number) => onProgress(sent, image.sizeBytes),
    };
    try {
      await glance.upload(id, body, { signal });
    } catch (error) {
      // All was sent and only the answer is missing: Glance, or a proxy before it, may have been too slow to give it.
      if (!(error instanceof UpstreamError) || !error.bodySent) throw error;
      log.info('an upload was cut after its last byte', { store: 'glance', image_id: id, error });
    }
    await expectWhole(id, image, glance, signal);
  } catch (error) {
    await removeQuietly(id, glance, log);
    throw error;
  }
}

/** Creates the record, with fewer properties where the quota of the cloud does not allow for all. */
async function create(
  image: FinishedImage,
  glance: Glance,
  { visibility, properties, signal, log }: GlanceStoreOptions & StorePutOptions,
): Promise<GlanceImage> {
  const record = { ...newImage(image, visibility), ...identifyingProperties(image) };
  try {
    return await glance.create({ ...describingProperties(image, properties), ...record }, { signal });
  } catch (error) {
    if (!(error instanceof UpstreamError) || error.upstreamStatus !== 413) throw error;
    log.warn('Glance takes no more properties, so the image gets only those that identify it', { error });
    return glance.create(record, { signal });
  }
}

/** Waits until Glance is done with the image and checks it. Throws UpstreamError with the fault. */
async function expectWhole(id: string, image: FinishedImage, glance: Glance, signal: AbortSignal): Promise<void> {
  const until = Date.now() + settleMs;
  for (;;) {
    const found = await glance.get(id, { signal });
    if (found === null) throw storeError(`the image ${id} has gone from Glance`, { transient: true });
    if (found.status === 'saving' && Date.now() < until) {
      await sleep(settlePollMs, signal);
      continue;
    }
    const fault = faultOf(found, { size: image.sizeBytes, ...image.checksums });
    if (fault === null) return;
    // A digest that cannot be compared will not change by another upload.
    throw storeError(`the image ${id} in Glance ${fault}`, { transient: !hasUnknownDigest(found) });
  }
}

/** A leftover is found by its build id when the build is tried again. */
async function removeQuietly(id: string, glance: Glance, log: Log): Promise<void> {
  try {
    await glance.remove(id, { signal: AbortSignal.timeout(removalMs) });
  } catch (error) {
    log.warn('an unfinished image could not be removed from Glance', { image_id: id, error });
  }
}
