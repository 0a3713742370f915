import { createHash, randomBytes } from 'node:crypto';
import { ImageBuilderError } from '../../errors.ts';
import { type RetryPolicy, retrying } from '../../http/retrying.ts';
import type { Log } from '../../log.ts';
import { storeError } from '../openstack/error.ts';
import { describeEndpoint, type Session } from '../openstack/session.ts';
import type { FinishedImage, Store, StoredImage, StorePutOptions } from '../store.ts';
import { describeRoom, tryStore } from '../trial.ts';
import { type Container, type ManifestEntry, openContainer } from './api.ts';
import { planSegments, readLimits, type Segment } from './limits.ts';
import { fromMetadata, objectName, objectPrefix, segmentName, segmentPrefix, toMetadata } from './object.ts';
import { temporaryUrl } from './temporary-url.ts';

/**
 * Images in Swift, as objects `<container>/<build id>/<name>`; large ones as static large objects, whose manifest comes
 * last, so that a reader sees a whole image or none.
 */

export interface SwiftStoreOptions {
  readonly session: Session;
  readonly container: string;
  readonly segmentBytes: number;
  /** With a key, results carry a URL that needs no token. */
  readonly temporaryUrl: { readonly key: string; readonly lifetimeMs: number } | null;
  readonly retry: RetryPolicy;
  readonly log: Log;
}

const parallelSegments = 4;
/** Number of parallel calls without a body. */
const parallelCalls = 8;
/** Most attempts to send one segment, or an object in one piece. */
const uploadAttempts = 8;
/** Time limit of the clean-up after a failure or a cancel. */
const removalMs = 20_000;

export function createSwiftStore(options: SwiftStoreOptions): Store {
  const { session, log } = options;
  const container = openContainer(session, options.container);

  async function find(buildId: string, { signal }: { readonly signal: AbortSignal }): Promise<StoredImage | null> {
    for (const { name } of await container.list(objectPrefix(buildId), { signal })) {
      const found = await look(name, signal);
      if (found !== null) return found;
    }
    return null;
  }

  async function look(name: string, signal: AbortSignal): Promise<StoredImage | null> {
    const whole = await readWhole(name, container, signal);
    return whole === null ? null : { ...whole.image, ...(await place(name, whole.image.name, signal)) };
  }

  async function place(name: string, fileName: string, signal: AbortSignal) {
    const location = await container.url(name, { signal });
    const { region } = await session.endpoint('object-store', { signal });
    if (options.temporaryUrl === null) return { location, region };
    const { key, lifetimeMs } = options.temporaryUrl;
    const expires = Math.floor((Date.now() + lifetimeMs) / 1000);
    return {
      location,
      region,
      download_url: temporaryUrl({ url: location, key, expires, fileName }),
      download_url_expires: new Date(expires * 1000).toISOString(),
    };
  }

  async function put(image: FinishedImage, { signal, onProgress }: StorePutOptions): Promise<StoredImage> {
    const present = await look(objectName(image), signal);
    if (present !== null) return present;
    const limits = await readLimits(session, { signal });
    const segments = planSegments(image.sizeBytes, options.segmentBytes, limits);
    if (options.temporaryUrl !== null && !limits.temporaryUrlDigests.includes('sha256')) {
      throw new ImageBuilderError('store.refused', 'Swift takes no TempURLs signed with sha256 (/info says so)');
    }
    await container.ensure(options.temporaryUrl?.key ?? null, { signal });
    // Leftovers of dead workers of this build.
    await removeAll(await unfinished(image.buildId, container, signal), container, signal);

    const upload = createUpload(image, container, { ...options, signal, onProgress });
    try {
      if (segments.length === 1) await upload.whole();
      else await upload.segmented(segments);
      const stored = await look(objectName(image), signal);
      if (stored !== null) return stored;
      throw storeError('the image is not whole in Swift after it was put there', { transient: true });
    } catch (error) {
      try {
        await removeAll(upload.names(), container, AbortSignal.timeout(removalMs));
      } catch (removalError) {
        log.warn('parts of an unfinished image could not be removed from Swift', {
          build_id: image.buildId,
          error: removalError,
        });
      }
      throw error;
    }
  }

  return {
    kind: 'swift',
    find,
    put,
    async discard(buildId) {
      const signal = AbortSignal.timeout(removalMs);
      await removeAll(await unfinished(buildId, container, signal), container, signal);
    },
    checks: [
      {
        what: 'Swift',
        changes: false,
        look: async (signal) => describeEndpoint(await session.endpoint('object-store', { signal })),
      },
      {
        what: 'Swift quota',
        changes: true,
        async look(signal) {
          await container.ensure(options.temporaryUrl?.key ?? null, { signal });
          return describeRoom(await container.room({ signal }));
        },
      },
      {
        what: 'Swift upload',
        changes: true,
        look: (signal) => tryStore({ put }, signal, (id) => container.remove(id, { signal })),
      },
    ],
  };
}

/**
 * The image of this object, when it has the size that was recorded on it, and all of its segments. Each segment is
 * looked up, since listings may lag behind.
 */
async function readWhole(
  name: string,
  container: Container,
  signal: AbortSignal,
): Promise<{ readonly image: Omit<StoredImage, 'location'>; readonly segments: readonly string[] } | null> {
  const found = await container.look(name, { signal });
  const recorded = found === null ? null : fromMetadata(found.headers);
  if (found === null || recorded === null || found.bytes !== recorded.size) return null;
  const image = { ...recorded, id: name, store: 'swift' as const };
  if (!found.isSegmented) return { image, segments: [] };
  const segments = await container.getManifest(name, { signal });
  let complete = true;
  await inParallel(segments, parallelCalls, signal, async (segment, _index, either) => {
    const part = await container.look(segment.name, { signal: either });
    complete &&= part?.etag === segment.hash && part.bytes === segment.bytes;
  });
  return complete ? { image, segments: segments.map((segment) => segment.name) } : null;
}

/** Names of all objects of the build that are not part of a whole image. */
async function unfinished(buildId: string, container: Container, signal: AbortSignal): Promise<string[]> {
  const kept = new Set<string>();
  const objects = await container.list(objectPrefix(buildId), { signal });
  for (const { name } of objects) {
    const whole = await readWhole(name, container, signal);
    if (whole !== null) for (const part of [name, ...whole.segments]) kept.add(part);
  }
  const segments = await container.list(segmentPrefix(buildId), { signal });
  return [...objects, ...segments].map(({ name }) => name).filter((name) => !kept.has(name));
}

function createUpload(image: FinishedImage, container: Container, options: SwiftStoreOptions & StorePutOptions) {
  const { onProgress, retry, log } = options;
  const name = objectName(image);
  const attempt = randomBytes(4).toString('hex');
  const written = new Set<string>();
  /** Bytes of each part that are on their way or there. */
  const sent = new Map<string, number>();

  /** Sends one part until Swift has exactly the bytes that were read, and resolves with its MD5. */
  function send(
    partName: string,
    { startByte, bytes }: Segment,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<string> {
    written.add(partName);
    const report = (sentBytes: number) => {
      sent.set(partName, sentBytes);
      onProgress(
        [...sent.values()].reduce((sum, value) => sum + value, 0),
        image.sizeBytes,
      );
    };
    return retrying(
      async () => {
        const digest = createHash('md5');
        const body = { path: image.path, startByte, bytes, digest, onProgress: report };
        const etag = await container.upload(partName, body, headers, { signal });
        const md5 = digest.digest('hex');
        if (etag === md5) return md5;
        throw storeError(`Swift has stored ${partName} with another content than was sent`, {
          transient: true,
        });
      },
      {
        signal,
        policy: { ...retry, attempts: uploadAttempts },
        onRetry: (error, attempts) => {
          sent.set(partName, 0);
          log.warn('an upload failed and starts anew', { store: 'swift', object: partName, attempt: attempts, error });
        },
      },
    );
  }

  return {
    /** All objects that may have been written, the object itself first. */
    names: () => [name, ...[...written].filter((partName) => partName !== name)],
    async whole() {
      await send(name, { startByte: 0, bytes: image.sizeBytes }, toMetadata(image), options.signal);
    },
    async segmented(segments: readonly Segment[]) {
      const entries: ManifestEntry[] = [];
      await inParallel(segments, parallelSegments, options.signal, async (segment, index, signal) => {
        const partName = segmentName(image.buildId, attempt, index);
        const etag = await send(partName, segment, {}, signal);
        entries[index] = { name: partName, etag, bytes: segment.bytes };
      });
      await container.putManifest(name, entries, toMetadata(image), { signal: options.signal });
    },
  };
}

async function removeAll(names: readonly string[], container: Container, signal: AbortSignal): Promise<void> {
  await inParallel(names, parallelCalls, signal, (name, _index, either) => container.remove(name, { signal: either }));
}

/** Runs `action` on all items, `limit` at a time; the first failure aborts the others, and is thrown when they ended. */
async function inParallel<Item>(
  items: readonly Item[],
  limit: number,
  signal: AbortSignal,
  action: (item: Item, index: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const rest = items.entries();
  const work = async () => {
    for (const [index, item] of rest) {
      either.throwIfAborted();
      await action(item, index, either);
    }
  };
  const working = Array.from({ length: Math.min(limit, items.length) }, () =>
    work().catch((error) => {
      failed.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(working);
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
}
