import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { BaseImageReport, ImageResult } from '../api/event.ts';
import type { BuildRequest } from '../api/request.ts';
import { together } from '../async.ts';
import { type ErrorCode, ImageBuilderError, safeUrl } from '../errors.ts';
import { type BaseImage, forgetDamagedImage } from '../fetch/base-image.ts';
import type { Guest, GuestPlace } from '../guest/guest.ts';
import { type FileDigests, hashFile } from '../image/digest.ts';
import { inspectImage } from '../image/inspect.ts';
import type { ImageInspection } from '../image/inspection.ts';
import { createOverlay } from '../image/overlay.ts';
import { repack } from '../image/repack.ts';
import { verifyImage } from '../image/verify.ts';
import { openDiskSpace } from '../limits/disk-space.ts';
import { limitOutput } from '../limits/output-limit.ts';
import { changeImage } from './change-image.ts';
import type { BuildContext, BuildTools, LimitedContext } from './context.ts';
import { type BuildInputs, fetchInputs } from './fetch-inputs.ts';
import { makeRoomInCaches } from './make-room.ts';
import { openWorkDirectory } from './work-directory.ts';

/**
 * One attempt at one build of a cloud image, from its URLs to its place in the store. Leaves nothing behind but the
 * stored image and warm caches, whatever happens. Throws ImageBuilderError, or the reason of the signal.
 */
export async function runBuild(
  build: { readonly buildId: string; readonly request: BuildRequest },
  tools: BuildTools,
  context: BuildContext,
): Promise<ImageResult> {
  const { store, settings } = tools;
  const { reporter, log } = context;

  // An attempt before this one may have got as far as the store and died before it could say so.
  const present = await store.find(build.buildId, { signal: context.signal });
  if (present !== null) return present;

  const { guest } = await tools.chooseGuest();
  await using work = await openWorkDirectory(settings.workDirectory, build.buildId);
  await using space = await openDiskSpace({
    folders: {
      work: settings.workDirectory,
      cache: settings.cacheDirectory,
      store: store.kind === 'file' ? settings.storeDirectory : null,
    },
    workDirectory: work.path,
    scratchBytes: guest.scratchBytes,
    reserveBytes: settings.diskReserveBytes,
    makeRoom: (bytes) => makeRoomInCaches(settings.cacheDirectory, bytes),
    onNotice: (message) => reporter.notice(message),
    signal: context.signal,
    log,
  });
  const output = limitOutput(settings.maximumLogBytes);
  const signal = AbortSignal.any([context.signal, space.exhausted, output.exceeded]);
  try {
    return await buildWithin(work.path, build, tools, { ...context, signal, space, output });
  } catch (error) {
    // What fails while a build is being stopped is a consequence.
    throw signal.aborted ? signal.reason : space.explain(error);
  }
}

async function buildWithin(
  workDirectory: string,
  build: { readonly buildId: string; readonly request: BuildRequest },
  tools: BuildTools,
  context: LimitedContext,
): Promise<ImageResult> {
  const { guest } = await tools.chooseGuest();
  const place = { overlayPath: join(workDirectory, 'overlay.qcow2'), workDirectory, buildId: build.buildId };
  await using prepared = (await guest.prepare?.(place, context.signal)) ?? null;
  const inputs = await fetchInputs(build.request, workDirectory, tools, context);
  try {
    return await buildFrom({ ...inputs, ...place, opener: prepared ?? guest }, build.request, tools, context);
  } catch (error) {
    if (error instanceof ImageBuilderError && damageCodes.includes(error.code)) {
      const { cacheDirectory, imageCacheBytes } = tools.settings;
      await forgetDamagedImage(inputs.base, { cacheDirectory, cacheBytes: imageCacheBytes });
    }
    throw error;
  }
}

/** What a base image is found to be that came, or was kept, otherwise than it should have. */
const damageCodes: readonly ErrorCode[] = ['image.corrupt', 'image.truncated'];

async function buildFrom(
  { base, sources, opener, ...place }: BuildInputs & GuestPlace & { readonly opener: Pick<Guest, 'open'> },
  request: BuildRequest,
  tools: BuildTools,
  context: LimitedContext,
): Promise<ImageResult> {
  const { overlayPath, workDirectory, buildId } = place;
  const { store, settings } = tools;
  const { signal, reporter, space } = context;
  const { series } = request.base_image;

  reporter.begin('inspect', 'looking into the base image');
  const { maximumVirtualBytes, unprivilegedIds } = settings;
  const inspection = await inspectImage(base.path, { maximumVirtualBytes, signal });

  reporter.begin('open', 'opening the image');
  const baseSize = { fileBytes: base.sizeBytes, diskBytes: inspection.virtualSizeBytes };
  await space.claim(space.plan.beforeChange(baseSize, null));
  await createOverlay({ basePath: base.path, base: inspection, overlayPath, unprivilegedIds, signal });
  const { facts, packages } = await changeImage(
    {
      ...place,
      opener,
      baseImageSha256: base.sha256,
      baseSize,
      base: { path: base.path, format: inspection.format },
      partitions: inspection.partitions,
      series,
      sources,
      packages: request.package_list,
    },
    tools,
    context,
  );

  reporter.begin('repack', 'packing the image again');
  await space.claim(space.plan.beforeRepack(base.sizeBytes, (await stat(overlayPath)).blocks * 512));
  const path = join(workDirectory, 'image.qcow2');
  const { method, reason } = await repack({
    basePath: base.path,
    base: inspection,
    overlayPath,
    outputPath: path,
    compression: settings.compression,
    unprivilegedIds,
    signal,
    onProgress: (fraction) => reporter.progress(Math.round(fraction * 100), 100),
  });
  reporter.log(`packed by ${method}${reason === undefined ? '' : `: ${reason}`}`);

  reporter.begin('check', 'checking the new image');
  const onProgress = (current: number, total: number) => reporter.progress(current, total);
  const [, { sizeBytes, checksums }] = await together<[ImageInspection, FileDigests]>(signal, (both) => [
    verifyImage(path, { base: inspection, maximumVirtualBytes, unprivilegedIds, signal: both }),
    hashFile(path, { signal: both, onProgress }),
  ]);

  reporter.begin('upload', `putting the image into the ${store.kind} store`);
  await space.claim(space.plan.beforeUpload(sizeBytes));
  const stored = await store.put(
    {
      buildId,
      ticketId: request.ticket_id,
      name: imageName(series, request.ticket_id, buildId),
      path,
      sizeBytes,
      checksums,
      format: 'qcow2',
      series,
      baseImageSha256: base.sha256,
      architecture: facts.architecture,
      distribution: facts.distribution,
      distributionVersion: facts.distributionVersion,
    },
    { signal, onProgress },
  );
  return { ...stored, packages, base_image_sha256: base.sha256, base_image: describeBase(base) };
}

function describeBase(base: BaseImage): BaseImageReport {
  return {
    url: safeUrl(base.url),
    sha256: base.sha256,
    size: base.sizeBytes,
    from_cache: base.fromCache,
    verified_by: base.verifiedBy,
    sha256sums_url: base.sha256sumsUrl === null ? null : safeUrl(base.sha256sumsUrl),
  };
}

/** A file name that says what the image is: series, ticket, and the first part of the build id. */
function imageName(series: string, ticketId: string | number, buildId: string): string {
  const ticket = String(ticketId)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 64);
  return `${series}-${ticket}-${buildId.slice(0, 8)}.qcow2`;
}
