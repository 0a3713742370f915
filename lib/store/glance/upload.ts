import { sleep } from '../../async.ts';
import type { RetryPolicy } from '../../http/retrying.ts';
import { UpstreamError } from '../../http/upstream-error.ts';
import type { Log } from '../../log.ts';
import { type Artifacts, type ImageArtifact, type Origin, sumProgress } from '../artifact.ts';
import type { Beside } from '../beside.ts';
import type { FileObjects } from '../file/file-objects.ts';
import { storeError } from '../openstack/error.ts';
import type { Session } from '../openstack/session.ts';
import type { StorePutOptions } from '../store.ts';
import type { Glance } from './api.ts';
import {
  describingProperties,
  faultOf,
  type GlanceImage,
  hasUnknownDigest,
  type ImageTraits,
  identifyingProperties,
  isOmissible,
  newImage,
} from './image.ts';
import { imageFilesOf } from './image-files.ts';

export interface GlanceStoreOptions {
  readonly session: Session;
  readonly traits: ImageTraits;
  /** The place of other artifacts in Swift. */
  readonly beside: Beside;
  /** Their place where the cloud has no Swift. */
  readonly files: FileObjects;
  readonly retry: RetryPolicy;
  readonly log: Log;
}

/** Time that an image may stay in `saving` after all of it was sent. */
const settleMs = 60_000;
const settlePollMs = 500;
/** Time limit of the clean-up after a failure or a cancel. */
const removalMs = 20_000;

/** The options of an upload; `place` takes the artifacts beside the image. */
export type UploadOptions = GlanceStoreOptions & StorePutOptions & { readonly place: Beside };

/** Creates an image and uploads it, after everything beside it; on any failure all of them are deleted again. */
export async function upload(
  artifacts: Artifacts,
  origin: Origin,
  glance: Glance,
  options: UploadOptions,
): Promise<void> {
  const { signal, place, log } = options;
  const [image, ...others] = artifacts;
  const report = sumProgress(artifacts, options.onProgress);
  const created = await create(artifacts, origin, glance, options);
  try {
    if (others.length > 0) {
      const onProgress = (bytes: number) => report('others', bytes);
      await place.put(imageFilesOf(origin.buildId, created.id), others, origin, { signal, onProgress });
    }
    const onProgress = (bytes: number) => report('image', bytes);
    const body = { path: image.path, startByte: 0, bytes: image.sizeBytes, onProgress };
    try {
      await glance.upload(created.id, body, { signal });
    } catch (error) {
      // All was sent and only the answer is missing: Glance, or a proxy before it, may have been too slow to give it.
      if (!(error instanceof UpstreamError) || !error.bodySent) throw error;
      log.info('an upload was cut after its last byte', { store: 'glance', image_id: created.id, error });
    }
    await expectWhole(created.id, image, glance, signal);
  } catch (error) {
    try {
      await removeImage(created, origin.buildId, glance, options, AbortSignal.timeout(removalMs));
    } catch (removalError) {
      // A leftover is found by its build id when the build is tried again.
      log.warn('an unfinished image could not be removed from Glance', { image_id: created.id, error: removalError });
    }
    throw error;
  }
}

/** Removes an image, a protected one too, after everything beside it, which no other record leads to. */
export async function removeImage(
  { id, imagebuilder_others: others, protected: isProtected }: GlanceImage,
  buildId: string,
  glance: Glance,
  { beside, files }: Pick<GlanceStoreOptions, 'beside' | 'files'>,
  signal: AbortSignal,
): Promise<void> {
  const folder = imageFilesOf(buildId, id);
  if (others !== undefined) await beside.remove(folder, { signal });
  await files.remove(folder, { signal });
  if (isProtected === true) await glance.unprotect(id, { signal });
  await glance.remove(id, { signal });
}

/** Creates the record, with fewer properties where the quota of the cloud does not allow for all. */
async function create(
  artifacts: Artifacts,
  origin: Origin,
  glance: Glance,
  { place, traits, signal, log }: UploadOptions,
): Promise<GlanceImage> {
  const [image, ...others] = artifacts;
  const identifying = identifyingProperties(image, origin.buildId, place.isShared ? others.length : 0);
  const record = { ...newImage(image, traits), ...identifying };
  const describing = describingProperties(artifacts, origin, place.where, traits);
  try {
    return await glance.create({ ...describing, ...record }, { signal });
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    if (error.upstreamStatus !== 413)
      throw ofProtectedProperty(error, traits, Object.keys({ ...describing, ...identifying }));
    log.warn('Glance takes no more properties, so the image gets only those that identify it', { error });
    return glance.create(record, { signal });
  }
}

/**
 * Adds the remedy to a refusal by the cloud's property protections, which Glance words as "Attribute 'x' is reserved."
 */
function ofProtectedProperty(
  error: UpstreamError,
  { properties }: ImageTraits,
  names: readonly string[],
): UpstreamError {
  const name = names.find((each) => error.message.includes(`'${each}'`));
  if (error.upstreamStatus !== 403 || name === undefined) return error;
  const remedy = Object.hasOwn(properties, name)
    ? 'take it out of IMAGEBUILDER_GLANCE_PROPERTIES'
    : isOmissible(name)
      ? 'leave it out with IMAGEBUILDER_GLANCE_OMIT_PROPERTIES'
      : 'the cloud has to allow it, since images are recognised by it';
  return storeError(`this cloud protects the property ${name}: ${remedy} (${error.message})`, {
    transient: false,
    upstreamStatus: 403,
    cause: error,
  });
}

/** Waits until Glance is done with the image and checks it. Throws UpstreamError with the fault. */
async function expectWhole(id: string, image: ImageArtifact, glance: Glance, signal: AbortSignal): Promise<void> {
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
