import { randomBytes } from 'node:crypto';
import type { RetryPolicy } from '../../http/retrying.ts';
import type { Log } from '../../log.ts';
import type { Artifact, LogOrigin, Origin } from '../artifact.ts';
import type { Beside, FoundObject, StoredObject } from '../beside.ts';
import { inParallel, parallelCalls } from '../in-parallel.ts';
import { storeError } from '../openstack/error.ts';
import type { CallOptions, Session } from '../openstack/session.ts';
import type { StorePutOptions } from '../store.ts';
import { type Container, openContainer } from './api.ts';
import { planSegments, readLimits } from './limits.ts';
import { fromHeaders, objectPrefix, segmentPrefix } from './object.ts';
import { chooseDigest, type TemporaryUrlDigest, temporaryUrl } from './temporary-url.ts';
import { createUpload } from './upload.ts';

/**
 * Artifacts in Swift, as objects `<container>/<folder>/<name>`; large ones as static large objects, whose manifest comes
 * last, so that a reader sees a whole object or none. Each object says how many its folder has, so that a reader knows
 * whether all are there.
 */
export interface Objects extends Beside {
  /** Makes the container where it is missing. Resolves with the bytes that quotas leave; null where there are none. */
  room(options: CallOptions): Promise<number | null>;
}

export interface ObjectsOptions {
  readonly session: Session;
  readonly container: string;
  readonly segmentBytes: number;
  /** With a key, results carry a URL that needs no token. */
  readonly temporaryUrl: { readonly key: string; readonly lifetimeMs: number } | null;
  readonly retry: RetryPolicy;
  readonly log: Log;
}

/** Time limit of the clean-up after a failure or a cancel. */
const removalMs = 20_000;

export function openObjects(options: ObjectsOptions): Objects {
  const { session, log } = options;
  const container = openContainer(session, options.container);
  const ensure = ({ signal }: CallOptions) => container.ensure(options.temporaryUrl?.key ?? null, { signal });

  async function place(name: string, fileName: string, digest: TemporaryUrlDigest | null, signal: AbortSignal) {
    const location = await container.url(name, { signal });
    const { region } = await session.endpoint('object-store', { signal });
    if (options.temporaryUrl === null || digest === null) return { location, region };
    const { key, lifetimeMs } = options.temporaryUrl;
    const expires = Math.floor((Date.now() + lifetimeMs) / 1000);
    return {
      location,
      region,
      download_url: temporaryUrl({ url: location, key, expires, fileName, digest }),
      download_url_expires: new Date(expires * 1000).toISOString(),
    };
  }

  async function findNamed(names: readonly string[], signal: AbortSignal): Promise<StoredObject[] | null> {
    const set = await readSet(names, container, signal);
    return set && (await placed(set, signal)).map(({ object }) => object);
  }

  async function placed(objects: readonly WholeObject[], signal: AbortSignal): Promise<FoundObject[]> {
    const limits = options.temporaryUrl === null ? null : await readLimits(session, { signal });
    const digest = limits && chooseDigest(limits.temporaryUrlDigests);
    return await Promise.all(
      objects.map(async ({ name, file, artifacts, origin, storedAt }) => ({
        object: {
          ...{ ...file, id: name, store: 'swift' as const },
          ...(await place(name, file.name, digest, signal)),
        },
        ...{ ofSet: artifacts, origin, storedAt },
      })),
    );
  }

  const namesIn = async (prefix: string, signal: AbortSignal) =>
    (await container.list(prefix, { signal })).map(({ name }) => name);

  const find: Objects['find'] = async (folder, { signal }) =>
    findNamed(await namesIn(objectPrefix(folder), signal), signal);

  /** Names of all objects in the folder, those of a whole set left out. */
  async function unfinished(folder: string, signal: AbortSignal): Promise<string[]> {
    const names = await namesIn(objectPrefix(folder), signal);
    const set = (await readSet(names, container, signal)) ?? [];
    const kept = new Set(set.flatMap(({ name, segments }) => [name, ...segments]));
    return [...names, ...(await namesIn(segmentPrefix(folder), signal))].filter((name) => !kept.has(name));
  }

  async function put(
    folder: string,
    artifacts: readonly Artifact[],
    origin: Origin | LogOrigin,
    putOptions: StorePutOptions,
  ) {
    const { signal } = putOptions;
    const names = artifacts.map(({ name }) => objectPrefix(folder) + name).sort();
    // By name first, since listings may lag behind.
    const present = (await findNamed(names, signal)) ?? (await find(folder, { signal }));
    if (present !== null) return present;
    const limits = await readLimits(session, { signal });
    const plans = artifacts.map((artifact) => ({
      artifact,
      segments: planSegments(artifact.sizeBytes, options.segmentBytes, limits),
    }));
    // Throws before the upload where there can be no URL after it.
    if (options.temporaryUrl !== null) chooseDigest(limits.temporaryUrlDigests);
    await ensure({ signal });
    // Leftovers of dead workers of this build.
    await removeAll(await unfinished(folder, signal), container, signal);

    const attempt = randomBytes(4).toString('hex');
    const upload = createUpload({ folder, attempt, artifacts, origin, container }, { ...options, ...putOptions });
    try {
      // Readers look for the image, so it comes last.
      for (const { artifact, segments } of plans.toReversed()) await upload.send(artifact, segments);
      const stored = await findNamed(names, signal);
      if (stored !== null) return stored;
      throw storeError('the image is not whole in Swift after it was put there', { transient: true });
    } catch (error) {
      try {
        await removeAll(upload.names(), container, AbortSignal.timeout(removalMs));
      } catch (removalError) {
        log.warn('parts of an unfinished image could not be removed from Swift', {
          build_id: origin.buildId,
          error: removalError,
        });
      }
      throw error;
    }
  }

  return {
    where: `swift:${options.container}`,
    isShared: true,
    find,
    put,
    discard: async (folder, { signal }) => removeAll(await unfinished(folder, signal), container, signal),
    async remove(folder, { signal }) {
      // Manifests before their segments: an object without segments would say no more whose it is.
      const names = await namesIn(objectPrefix(folder), signal);
      await inParallel(names, parallelCalls, signal, async (name, _index, either) => {
        if (await isOurs(name, folder, container, either)) await container.remove(name, { signal: either });
      });
      await removeAll(await namesIn(segmentPrefix(folder), signal), container, signal);
    },
    async look(folder, { signal }) {
      const set = await readAll(await namesIn(objectPrefix(folder), signal), container, signal);
      return set.length === 0 ? [] : await placed(set, signal);
    },
    async *folders(prefix, { signal }) {
      // Ids begin with a hexadecimal digit.
      const range = { prefix, after: `${prefix}/`, before: `${prefix}g` };
      let folder = '';
      let newest = '';
      for await (const page of container.walk(range, { signal })) {
        for (const object of page) {
          const end = object.name.indexOf('/', prefix.length);
          if (end < 0) continue;
          const name = object.name.slice(0, end);
          const storedAt = new Date(`${object.last_modified}Z`).toISOString();
          if (folder !== name && folder !== '') yield { name: folder, storedAt: newest };
          if (folder !== name || newest < storedAt) newest = storedAt;
          folder = name;
        }
      }
      if (folder !== '') yield { name: folder, storedAt: newest };
    },
    async room({ signal }) {
      await ensure({ signal });
      return await container.room({ signal });
    },
  };
}

type WholeObject = NonNullable<Awaited<ReturnType<typeof readWhole>>>;

/** The whole ones of these objects, where they are as many as each of them says; else null. */
async function readSet(names: readonly string[], container: Container, signal: AbortSignal) {
  const set = await readAll(names, container, signal);
  return set.length > 0 && set.every(({ artifacts }) => artifacts === set.length) ? set : null;
}

/** The whole ones of these objects, in their order. */
async function readAll(names: readonly string[], container: Container, signal: AbortSignal) {
  const found: WholeObject[] = [];
  for (const name of names) {
    const whole = await readWhole(name, container, signal);
    if (whole !== null) found.push(whole);
  }
  return found;
}

/** Whether Image Builder has put the object: by its metadata, or by its segments where one of them is missing. */
async function isOurs(name: string, folder: string, container: Container, signal: AbortSignal): Promise<boolean> {
  const found = await container.look(name, { signal });
  if (found !== null) return fromHeaders(found.headers) !== null;
  const segments = await container.findManifest(name, { signal });
  return segments.length > 0 && segments.every((segment) => segment.name.startsWith(segmentPrefix(folder)));
}

/**
 * The object, when it has the size that was recorded on it, and all of its segments. Each segment is looked up, since
 * listings may lag behind.
 */
async function readWhole(name: string, container: Container, signal: AbortSignal) {
  const found = await container.look(name, { signal });
  const recorded = found === null ? null : fromHeaders(found.headers);
  if (found === null || recorded === null || found.bytes !== recorded.file.size) return null;
  if (!found.isSegmented) return { ...recorded, name, segments: [] };
  const segments = await container.getManifest(name, { signal });
  let complete = true;
  await inParallel(segments, parallelCalls, signal, async (segment, _index, either) => {
    const part = await container.look(segment.name, { signal: either });
    complete &&= part?.etag === segment.hash && part.bytes === segment.bytes;
  });
  return complete ? { ...recorded, name, segments: segments.map((segment) => segment.name) } : null;
}

async function removeAll(names: readonly string[], container: Container, signal: AbortSignal): Promise<void> {
  await inParallel(names, parallelCalls, signal, (name, _index, either) => container.remove(name, { signal: either }));
}
