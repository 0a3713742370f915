import { join } from 'node:path';
import type { ImageResult } from '../api/event.ts';
import type { BuildRequest } from '../api/request.ts';
import { hashFile } from '../image/digest.ts';
import { inspectImage } from '../image/inspect.ts';
import { createOverlay } from '../image/overlay.ts';
import { repack } from '../image/repack.ts';
import { verifyImage } from '../image/verify.ts';
import { changeImage } from './change-image.ts';
import { fetchInputs } from './fetch-inputs.ts';
import type { BuildContext, BuildTools } from './tools.ts';
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
  const { buildId, request } = build;
  const { store, settings } = tools;
  const { signal, reporter } = context;
  const { series } = request.base_image;

  // An attempt before this one may have got as far as the store and died before it could say so.
  const present = await store.find(buildId, { signal });
  if (present !== null) return present;

  await using work = await openWorkDirectory(settings.workDirectory, buildId);
  const { base, sources } = await fetchInputs(request, work.path, tools, context);

  reporter.begin('inspect', 'looking into the base image');
  const limits = { maximumVirtualBytes: settings.maximumVirtualBytes, signal };
  const inspection = await inspectImage(base.path, limits);

  reporter.begin('open', 'opening the image');
  const overlayPath = join(work.path, 'overlay.qcow2');
  await createOverlay({ basePath: base.path, base: inspection, overlayPath, signal });
  const { facts, packages } = await changeImage(
    {
      buildId,
      baseImageSha256: base.sha256,
      overlayPath,
      partitions: inspection.partitions,
      series,
      sources,
      packages: request.package_list,
      workDirectory: work.path,
    },
    tools,
    context,
  );

  reporter.begin('repack', 'packing the image again');
  const path = join(work.path, 'image.qcow2');
  const { method, reason } = await repack({
    basePath: base.path,
    base: inspection,
    overlayPath,
    outputPath: path,
    compression: settings.compression,
    signal,
    onProgress: (fraction) => reporter.progress(Math.round(fraction * 100), 100),
  });
  reporter.log(`packed by ${method}${reason === undefined ? '' : `: ${reason}`}`);

  reporter.begin('check', 'checking the new image');
  await verifyImage(path, { base: inspection, ...limits });
  const onProgress = (current: number, total: number) => reporter.progress(current, total);
  const { sizeBytes, checksums } = await hashFile(path, { signal, onProgress });

  reporter.begin('upload', `putting the image into the ${store.kind} store`);
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
  return { ...stored, packages, base_image_sha256: base.sha256 };
}

/** A file name that says what the image is: series, ticket, and the first part of the build id. */
function imageName(series: string, ticketId: string | number, buildId: string): string {
  const ticket = String(ticketId)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 64);
  return `${series}-${ticket}-${buildId.slice(0, 8)}.qcow2`;
}
