import { type FileHandle, open, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { architectures } from '../../architecture.ts';
import { together } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { headBytes, recognise } from '../../file-format.ts';
import type { GuestDisk, LayeredDisk, Region } from '../../guest/guest.ts';
import { type FileDigests, hashFile } from '../../image/digest.ts';
import { createScratchOverlay } from '../../image/scratch.ts';
import { type IsoInspection, inspectIso } from '../../iso9660/inspect.ts';
import { readIsoFile, runOf } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { chooseLayers, recogniseMedium } from '../../medium/recognise.ts';
import { openSquashfs, type SquashfsLimits } from '../../squashfs/open.ts';
import { missingPackages, toolsOf } from '../../tools.ts';
import type { ImageKind, InspectedImage, InspectOptions } from '../kind.ts';
import { compactLayer } from './compact-layer.ts';
import { mediumWays } from './medium-ways.ts';
import type { BootedKernel } from './new-kernel.ts';
import { writeNewLayer } from './new-layer.ts';
import { writeNewLists } from './new-lists.ts';
import { replayMedium } from './replay.ts';
import { planSpace } from './space.ts';
import { verifyMedium } from './verify.ts';

/** Live media: an ISO 9660 image with a SquashFS. The finished image is one too, which boots in the same ways. */
export const cd = {
  baseFile: { formats: ['iso'], description: 'an ISO 9660 image of a live system (casper or live-boot)' },
  architectures,
  // Measured on a small medium with a cold cache.
  steps: [
    { name: 'fetch', weight: 20 },
    { name: 'inspect', weight: 2 },
    { name: 'open', weight: 2 },
    { name: 'sources', weight: 20 },
    { name: 'install', weight: 30 },
    { name: 'seal', weight: 3 },
    { name: 'repack', weight: 10 },
    { name: 'check', weight: 3 },
    { name: 'upload', weight: 10 },
  ],
  planSpace,
  sealParts: [],
  async inspect(base, options) {
    if (options.diskBytes !== null) {
      throw new ImageBuilderError('image.unsupported', 'disk_size has no meaning for a CD image: leave it out');
    }
    const { maximumVirtualBytes, signal } = options;
    await using handle = await open(base.path, 'r');
    await assertIso(handle);
    const medium = await inspectIso(handle, { maximumBytes: maximumVirtualBytes, signal });
    const layerPath = await findLayer(handle, medium.files);
    const layer = runOf(medium.files, layerPath);
    // Only to be looked at: its tables would take memory until the changes are packed.
    await openSquashfs({ handle, offset: layer.offsetBytes, length: layer.sizeBytes }, limitsOf(options, signal));
    return inspected({ path: base.path, medium, layerPath, layer }, options);
  },
} as const satisfies ImageKind;

/** The handle's file begins as an ISO 9660 image does; else throws `image.unsupported`, which names what it is. */
async function assertIso(handle: FileHandle): Promise<void> {
  const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(headBytes), position: 0 });
  const { format, name } = recognise({ head: buffer.subarray(0, bytesRead) });
  if (format !== 'iso') {
    throw new ImageBuilderError('image.unsupported', `the image is ${name}, where an ISO 9660 image is wanted`);
  }
}

interface Base {
  readonly path: string;
  readonly medium: IsoInspection;
  readonly layerPath: string;
  readonly layer: Region;
}

/** The catalogues and lists that say which layers there are have some KB. */
const maximumTextBytes = 2 ** 20;

async function findLayer(handle: FileHandle, files: IsoTree): Promise<string> {
  const paths = [...files].filter(([, { type }]) => type === 'file').map(([path]) => path);
  const texts = new Map<string, string>();
  for (const path of paths.filter((name) => /^(casper\/install-sources\.yaml|live\/[^/]+\.module)$/.test(name))) {
    texts.set(path, (await readIsoFile(handle, files, path, maximumTextBytes))?.toString('utf8') ?? '');
  }
  const medium = recogniseMedium({ paths, readText: (path) => texts.get(path) ?? '' });
  const { layer, below, above } = chooseLayers(medium, null);
  if (below.length === 0 && above.length === 0) return layer;
  const count = below.length + 1 + above.length;
  throw new ImageBuilderError(
    'image.unsupported',
    `the medium has ${count} layers, one above the other; so far, only media with one can be changed`,
  );
}

/** More files than any medium has, and the memory for their tables. */
const maximumInodes = 5_000_000;
const maximumTableBytes = 512 * 2 ** 20;
/** Room for the changes. The file of it takes what is written. */
const largestScratchBytes = 16 * 2 ** 30;

function limitsOf({ maximumVirtualBytes, unprivilegedIds }: InspectOptions, signal: AbortSignal): SquashfsLimits {
  return { maximumContentBytes: maximumVirtualBytes, maximumInodes, maximumTableBytes, unprivilegedIds, signal };
}

function inspected(base: Base, options: InspectOptions): InspectedImage {
  const { maximumVirtualBytes, unprivilegedIds } = options;
  const { fileSizeBytes } = base.medium;
  const scratchBytes = Math.min(maximumVirtualBytes, largestScratchBytes);
  let changed: ReadonlySet<string> = new Set();
  let booted: readonly BootedKernel[] = [];
  return {
    size: { fileBytes: fileSizeBytes, packedBytes: fileSizeBytes, diskBytes: scratchBytes },
    format: 'iso',
    // Packed blocks are copied as they are; the kernel checks those that the build reads.
    readContent: async () => undefined,
    async open(place, { signal }): Promise<LayeredDisk> {
      await assertTools();
      const { overlayPath, workDirectory } = place;
      const scratch = await createScratchOverlay({
        ...{ basePath: base.path, baseBytes: fileSizeBytes, overlayPath, scratchBytes },
        ...{ workDirectory, unprivilegedIds, signal },
      });
      const changes = { path: join(workDirectory, 'changes.tar'), maximumBytes: scratchBytes };
      return { ...place, base: { path: base.path, format: 'raw' }, layers: [base.layer], scratch, changes };
    },
    boot: null,
    waysToBoot: async (path, { signal }) =>
      await mediumWays(path, { maximumBytes: fileSizeBytes + scratchBytes, signal }),
    changedBytes: async ({ overlayPath }) => (await stat(overlayPath)).blocks * 512,
    async pack(disk, path, { signal, onProgress, onLog, onWarning }) {
      const directory = dirname(path);
      const maximumBytes = fileSizeBytes + scratchBytes;
      const isCompact = options.baseImage.image_type === 'cd' && options.baseImage.cd?.compact === true;
      const [splicedPart, layerPart] = isCompact ? [0.1, 0.9] : [0.7, 0.7];
      const layer = await writeNewLayer({
        ...{
          mediumPath: base.path,
          layerPath: base.layerPath,
          layer: base.layer,
          files: base.medium.files,
          changesPath: changesOf(disk),
          directory,
        },
        ...{ limits: limitsOf(options, signal), maximumBytes },
      });
      onProgress(splicedPart);
      if (isCompact) {
        const compacting = (fraction: number) => onProgress(splicedPart + (layerPart - splicedPart) * fraction);
        onLog(await compactLayer({ path: layer.path, limits: limitsOf(options, signal), onProgress: compacting }));
      }
      for (const line of layer.kernels.lines) onLog(line);
      for (const warning of layer.kernels.warnings) onWarning(warning);
      booted = layer.kernels.booted;
      const files = await writeNewLists(base.path, base.medium.files, base.layerPath, layer, directory);
      changed = new Set(files.keys());
      await replayMedium({
        ...{ mediumPath: base.path, medium: base.medium, files, outputPath: path },
        ...{ maximumBytes, unprivilegedIds, signal },
        onProgress: (fraction) => onProgress(layerPart + (1 - layerPart) * fraction),
      });
      onLog(`packed by splice: ${files.size} files of the medium are new`);
      onProgress(1);
    },
    async check(path, name, { signal, onProgress }) {
      const [digests] = await together<[FileDigests, unknown]>(signal, (both) => [
        hashFile(path, { signal: both, onProgress }),
        verifyMedium(path, { ...base, changed, booted, workDirectory: dirname(path) }, limitsOf(options, both)),
      ]);
      return [{ role: 'image', name, mediaType: 'application/vnd.efi.iso', path, ...digests, format: 'iso' }];
    },
  };
}

async function assertTools(): Promise<void> {
  const missing = await missingPackages(toolsOf('cd'));
  if (missing.length === 0) return;
  const message = `CD images need tools that this worker lacks: apt-get install ${missing.join(' ')}`;
  throw new ImageBuilderError('guest.unavailable', message);
}

function changesOf(disk: GuestDisk): string {
  if ('layers' in disk) return disk.changes.path;
  throw new ImageBuilderError('internal', 'a medium was opened as a disk with partitions');
}
