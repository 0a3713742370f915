import { chmod, stat } from 'node:fs/promises';
import { architectures } from '../../architecture.ts';
import { together } from '../../async.ts';
import { readDiskLoaders } from '../../boot/disk-loaders.ts';
import { bootState } from '../../boot/probe.ts';
import type { CommonRun } from '../../common-run.ts';
import { ImageBuilderError } from '../../errors.ts';
import { type FileDigests, hashFile } from '../../image/digest.ts';
import { inspectImage } from '../../image/inspect.ts';
import type { ImageInspection } from '../../image/inspection.ts';
import { openDisk } from '../../image/open-disk.ts';
import { createOverlay } from '../../image/overlay.ts';
import { checkContent, copyContent } from '../../image/qcow2/content.ts';
import { repack } from '../../image/repack.ts';
import { type Growth, planGrowth } from '../../image/resize/plan-growth.ts';
import { writePatches } from '../../image/resize/write-patches.ts';
import { unwrapImage, wrappings } from '../../image/unwrap/unwrap.ts';
import { verifyImage } from '../../image/verify.ts';
import type { BaseSize } from '../../limits/space-plan.ts';
import { bootLoaderEnvironment, bootLoaderLoan, bootLoaderSeal } from '../disk/boot-loader.ts';
import { initramfsLoan } from '../disk/initramfs.ts';
import type { ImageKind, InspectedImage, InspectOptions, UncompressedDisk } from '../kind.ts';
import { planSpace } from './space.ts';

/** Cloud images: one disk with a partition table, as qcow2 or raw. The finished image is a compressed qcow2, or raw. */
export const cloud = {
  baseFile: {
    formats: ['qcow2', 'raw'],
    wrappings,
    description:
      'qcow2, or a raw disk with a partition table or an ext file system; VMDK, VDI, VHD and VHDX; compressed or in an archive',
  },
  architectures,
  // Measured on a build of a few packages with a cold cache.
  steps: [
    { name: 'fetch', weight: 20 },
    { name: 'reuse', weight: 1 },
    { name: 'inspect', weight: 1 },
    { name: 'open', weight: 2 },
    { name: 'sources', weight: 20 },
    { name: 'install', weight: 30 },
    { name: 'seal', weight: 3 },
    { name: 'repack', weight: 14 },
    { name: 'check', weight: 5 },
    { name: 'upload', weight: 5 },
  ],
  planSpace,
  isDisk: true,
  layerForm: 'image',
  sealParts: [bootLoaderSeal, bootState],
  async inspect(base, options) {
    const path = await unwrapImage(base.path, {
      ...{ workDirectory: options.workDirectory, maximumBytes: options.maximumVirtualBytes },
      ...{ unprivilegedIds: options.unprivilegedIds, signal: options.signal },
      onLayer: (name) => options.onNotice(`the base image comes as ${name}: it is unwrapped`),
      onProgress: options.onProgress,
    });
    if (path !== base.path) await chmod(path, 0o444);
    const inspection = await inspectImage(path, options);
    if (options.outputFormat === 'raw') assertRaw(inspection, options.onNotice);
    const storedBytes = (await stat(path)).blocks * 512;
    const fileBytes = path === base.path ? base.sizeBytes : storedBytes;
    const packedBytes = options.outputFormat === 'raw' ? (inspection.qcow2?.allocatedBytes ?? storedBytes) : fileBytes;
    const growth = await growthOf(path, inspection, options.diskBytes);
    const file = { path, isWrapped: path !== base.path, size: { fileBytes, packedBytes } };
    return inspected(file, inspection, growth, options);
  },
} as const satisfies ImageKind;

interface InspectedFile {
  readonly path: string;
  /** Whether the base image came compressed as a whole, in an archive or in a foreign format. */
  readonly isWrapped: boolean;
  readonly size: Omit<BaseSize, 'diskBytes'>;
}

async function growthOf(path: string, base: ImageInspection, diskBytes: number | null): Promise<Growth | null> {
  if (diskBytes === null || diskBytes === base.virtualSizeBytes) return null;
  await using disk = await openDisk(path, base);
  return await planGrowth(disk, base, diskBytes);
}

/** Base images with more data get no copy: it would take the cache from many others, and long to write. */
const mostUncompressedBytes = 4 * 1024 ** 3;

/** Missing for images that hardly are compressed, those with unusual features, and those that each build unwraps. */
function uncompressedDisk(
  { path, isWrapped }: InspectedFile,
  inspection: ImageInspection,
): UncompressedDisk | undefined {
  const { qcow2, virtualSizeBytes } = inspection;
  if (qcow2 === null || isWrapped || virtualSizeBytes % 512 !== 0) return undefined;
  const { unusual, allocatedBytes, compressedBytes } = qcow2;
  if (unusual.length > 0 || compressedBytes < allocatedBytes / 2 || compressedBytes === 0) return undefined;
  if (allocatedBytes > mostUncompressedBytes) return undefined;
  return { storedBytes: allocatedBytes, copy: (target, signal) => copyContent(path, target, signal) };
}

/** Throws `image.unsupported` for a disk that would be no raw image for who reads it. */
function assertRaw({ asRaw: { takenFor, objection } }: ImageInspection, onNotice: InspectOptions['onNotice']): void {
  if (takenFor !== null) {
    throw new ImageBuilderError(
      'image.unsupported',
      `the disk begins or ends as ${takenFor}, which a raw image of it would be taken for; build it with output_format qcow2`,
    );
  }
  if (objection !== null) onNotice(`clouds that check raw images may refuse this one: ${objection}`);
}

function inspected(
  base: InspectedFile,
  inspection: ImageInspection,
  growth: Growth | null,
  { maximumVirtualBytes, unprivilegedIds, outputFormat }: InspectOptions,
): InspectedImage {
  // The disk as it is to be.
  const wanted = growth?.inspection ?? inspection;
  /** Of the packed image. */
  let sharedWithBase: readonly CommonRun[] = [];
  return {
    size: { ...base.size, diskBytes: wanted.virtualSizeBytes },
    format: outputFormat,
    async readContent(signal) {
      if ((inspection.qcow2?.compressedBytes ?? 0) > 0) await checkContent(base.path, signal);
    },
    uncompressed: uncompressedDisk(base, inspection),
    async open(place, { signal, uncompressedPath }) {
      await createOverlay({
        basePath: base.path,
        base: inspection,
        virtualSizeBytes: wanted.virtualSizeBytes,
        overlayPath: place.overlayPath,
        signal,
      });
      if (growth !== null) {
        const paths = { basePath: base.path, overlayPath: place.overlayPath, workDirectory: place.workDirectory };
        await writePatches(growth.patches, { ...paths, base: wanted, unprivilegedIds, signal });
      }
      return {
        ...place,
        // Packing goes by the base image itself, whose compressed clusters it takes over.
        base:
          uncompressedPath === undefined
            ? { path: base.path, format: inspection.format }
            : { path: uncompressedPath, format: 'raw' },
        partitions: wanted.partitions,
        grown: growth?.partition ?? null,
        environment: bootLoaderEnvironment(inspection),
        loans: [bootLoaderLoan, initramfsLoan],
      };
    },
    boot: {
      partitions: inspection.partitions,
      partitionTable: inspection.partitionTable,
      async readLoaders() {
        await using disk = await openDisk(base.path, inspection);
        return await readDiskLoaders(disk, inspection.partitions);
      },
    },
    async waysToBoot(path, { firmwares, signal }) {
      const image = await inspectImage(path, { maximumVirtualBytes, signal });
      return firmwares.map((firmware) => ({ firmware, drive: 'cloud-disk', image, follow: null }));
    },
    repetitions: () => [],
    changedBytes: async ({ overlayPath }) => (await stat(overlayPath)).blocks * 512,
    async pack({ overlayPath }, path, { onLog, ...options }) {
      const files = { basePath: base.path, base: inspection, overlayPath, outputPath: path };
      const input = { ...files, outputFormat, unprivilegedIds };
      const { method, reason, shared } = await repack({ ...input, ...options });
      if (!base.isWrapped) sharedWithBase = shared;
      onLog(`packed by ${method}${reason === undefined ? '' : `: ${reason}`}`);
    },
    async check(path, name, { signal, onProgress }) {
      const [digests] = await together<[FileDigests, unknown]>(signal, (both) => [
        hashFile(path, { signal: both, onProgress }),
        verifyImage(path, {
          format: outputFormat,
          base: wanted,
          maximumVirtualBytes,
          unprivilegedIds,
          signal: both,
        }),
      ]);
      // No media type is registered for qcow2 and raw disks.
      const packed = { path, ...digests, sharedWithBase, format: outputFormat };
      return [{ role: 'image', name, mediaType: 'application/octet-stream', ...packed }];
    },
  };
}
