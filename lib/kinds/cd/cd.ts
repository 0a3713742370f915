import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { architectures } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import type { GuestDisk, GuestPlace, LayeredDisk } from '../../guest/guest.ts';
import { copyOverlay } from '../../image/overlay.ts';
import { createScratchOverlay, scratchRegion } from '../../image/scratch.ts';
import { runOf } from '../../iso9660/read-file.ts';
import type { PlacedLayer } from '../../medium/plan-layers.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import { missingPackages, toolsOf } from '../../tools.ts';
import type { ImageKind, InspectedImage, InspectOptions, OpenOptions } from '../kind.ts';
import type { Digests } from './checksum-lists.ts';
import { compactLayer } from './compact-layer.ts';
import { finishMedium } from './finish-medium.ts';
import { createKnownLayers, type KnownLayers } from './known-layers.ts';
import type { SplicedLayers } from './layer-data.ts';
import { newKernels } from './live-kernels.ts';
import { mediumWays } from './medium-ways.ts';
import type { BootedKernel } from './new-kernel.ts';
import { type NewLayer, writeNewLayer } from './new-layer.ts';
import { writeNewLists } from './new-lists.ts';
import { type BaseMedium, readMedium } from './read-medium.ts';
import { replayMedium } from './replay.ts';
import { packedBytesOf, planSpace } from './space.ts';
import { type LayerDelta, takeChanges } from './take-changes.ts';
import { verifyMedium } from './verify.ts';

/** Live media: an ISO 9660 image with a SquashFS. The finished image is one too, which boots in the same ways. */
export const cd = {
  baseFile: { formats: ['iso'], description: 'an ISO 9660 image of a live system (casper or live-boot)' },
  architectures,
  // Measured on a small medium with a cold cache.
  steps: [
    { name: 'fetch', weight: 20 },
    { name: 'reuse', weight: 1 },
    { name: 'inspect', weight: 2 },
    { name: 'open', weight: 2 },
    { name: 'sources', weight: 20 },
    { name: 'install', weight: 30 },
    { name: 'seal', weight: 3 },
    { name: 'layers', weight: 30 },
    { name: 'repack', weight: 10 },
    { name: 'check', weight: 3 },
    { name: 'upload', weight: 10 },
  ],
  planSpace,
  isDisk: false,
  layerForm: 'overlay',
  sealParts: [],
  async inspect(base, options) {
    await using handle = await open(base.path, 'r');
    const limits = limitsOf(options, options.signal);
    const known = createKnownLayers(base.path, maximumTableBytes / 4);
    const { workDirectory } = options;
    const medium = await readMedium(base.path, handle, options.baseImage, { ...limits, workDirectory, known });
    return inspected(medium, known, options);
  },
} as const satisfies ImageKind;

/** More files than any medium has, and the memory for their tables. */
const maximumInodes = 5_000_000;
const maximumTableBytes = 512 * 2 ** 20;
/** Room for the changes. The file of it takes what is written. */
const largestScratchBytes = 16 * 2 ** 30;

function limitsOf({ maximumVirtualBytes, unprivilegedIds }: InspectOptions, signal: AbortSignal): SquashfsLimits {
  return { maximumContentBytes: maximumVirtualBytes, maximumInodes, maximumTableBytes, unprivilegedIds, signal };
}

function inspected(base: BaseMedium, known: KnownLayers, options: InspectOptions): InspectedImage {
  const { maximumVirtualBytes, unprivilegedIds } = options;
  const { fileSizeBytes } = base.iso;
  const scratchBytes = Math.min(maximumVirtualBytes, largestScratchBytes);
  const maximumBytes = fileSizeBytes + scratchBytes;
  const isCompact = options.baseImage.image_type === 'cd' && options.baseImage.cd?.compact === true;
  const [first, ...above] = base.plan;
  /** The changes taken so far. */
  const deltas: LayerDelta[] = [];
  let changed: ReadonlySet<string> = new Set();
  let spliced: SplicedLayers = new Map();
  let layerDigests: ReadonlyMap<string, Digests> = new Map();
  let booted: readonly BootedKernel[] = [];

  /** Without the changes to layers below: each file tree gets the change from the state that its packages know. */
  async function openLayer(
    { layer, below }: PlacedLayer,
    place: GuestPlace,
    { signal, begun }: Pick<OpenOptions, 'signal' | 'begun'>,
  ): Promise<LayeredDisk> {
    const { overlayPath, workDirectory } = place;
    const sizes = { baseBytes: fileSizeBytes, scratchBytes };
    if (begun === undefined) {
      const overlay = { basePath: base.path, overlayPath, ...sizes, workDirectory, unprivilegedIds, signal };
      await createScratchOverlay(overlay);
    } else await copyOverlay(begun.path, overlayPath, signal);
    const scratch = scratchRegion(sizes);
    const layers = [...below, layer].map((path) => runOf(base.iso.files, path));
    const changes = { path: join(workDirectory, 'changes.tar'), maximumBytes: scratchBytes };
    return { ...place, base: { path: base.path, format: 'raw' }, layers, scratch, changes };
  }

  async function take(placed: PlacedLayer, disk: GuestDisk, signal: AbortSignal): Promise<void> {
    const changesPath = changesOf(disk);
    const limits = limitsOf(options, signal);
    const places = { changesPath, directory: options.workDirectory };
    deltas.push(await takeChanges({ base, placed, deltas, ...places, limits, known, maximumBytes }));
  }

  async function takeFirst(disk: GuestDisk, signal: AbortSignal): Promise<void> {
    if (deltas.length === 0) await take(first, disk, signal);
  }

  return {
    size: {
      ...{ fileBytes: fileSizeBytes, diskBytes: scratchBytes },
      packedBytes: packedBytesOf(fileSizeBytes, isCompact),
    },
    format: 'iso',
    // Packed blocks are copied as they are (docs/cd.md); the kernel checks those that the build reads.
    readContent: async () => undefined,
    async open(place, options) {
      await assertTools();
      return await openLayer(first, place, options);
    },
    repetitions: (disk) =>
      above.map((placed) => ({
        name: `/${placed.layer}`,
        open: (place, { signal }) => openLayer(placed, place, { signal }),
        async take(own, { signal }) {
          await takeFirst(disk, signal);
          await take(placed, own, signal);
        },
      })),
    boot: null,
    waysToBoot: async (path, { signal }) =>
      await mediumWays(path, { maximumBytes: fileSizeBytes + scratchBytes, signal }),
    changedBytes: async ({ overlayPath }) => (await stat(overlayPath)).blocks * 512,
    async pack(disk, path, { signal, onProgress, onLog, onWarning }) {
      await takeFirst(disk, signal);
      const directory = dirname(path);
      const limits = limitsOf(options, signal);
      const layersPart = isCompact ? 0.9 : 0.7;
      const layers: NewLayer[] = [];
      for (const delta of deltas) {
        const onPart = (fraction: number) => onProgress((layersPart * (layers.length + fraction)) / deltas.length);
        const layer = await writeNewLayer({ base, delta, directory, isWhole: isCompact, limits, known });
        onPart(isCompact ? 0.1 : 1);
        if (isCompact) {
          const onFraction = (fraction: number) => onPart(0.1 + 0.9 * fraction);
          onLog(`/${layer.placed.layer}: ${await compactLayer({ path: layer.path, limits, onProgress: onFraction })}`);
        }
        layers.push(layer);
      }
      const kernels = await newKernels(base, layers, directory, limits, known);
      known.clear();
      for (const line of kernels.lines) onLog(line);
      for (const warning of kernels.warnings) onWarning(warning);
      booted = kernels.booted;
      for (const { file } of layers) await rm(file.path);
      const content = await writeNewLists(base, layers, kernels.files, directory, signal);
      const { files } = content;
      changed = new Set(files.keys());
      spliced = new Map(layers.flatMap(({ placed: { layer }, data }) => (data === null ? [] : [[layer, data]])));
      const unfinished = `${path}.unfinished`;
      await replayMedium({
        ...{ mediumPath: base.path, medium: base.iso, files, later: spliced, outputPath: unfinished },
        ...{ maximumBytes, unprivilegedIds, signal },
        onProgress: (fraction) => onProgress(layersPart + (1 - layersPart) * 0.5 * fraction),
      });
      layerDigests = await finishMedium({
        ...{ mediumPath: base.path, newPath: unfinished, layers: spliced, content, signal },
        onProgress: (fraction) => onProgress(layersPart + (1 - layersPart) * (0.5 + 0.5 * fraction)),
      });
      for (const { restPath } of spliced.values()) await rm(restPath);
      await rename(unfinished, path);
      onLog(`packed by splice: ${files.size} files of the medium are new`);
      onProgress(1);
    },
    async check(path, name, { signal, onProgress }) {
      const verified = await verifyMedium(
        path,
        { base, changed, spliced, layerDigests, deltas, booted, workDirectory: dirname(path) },
        limitsOf(options, signal),
        onProgress,
      );
      return [{ role: 'image', name, mediaType: 'application/vnd.efi.iso', path, ...verified, format: 'iso' }];
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
  if ('layers' in disk && disk.changes !== undefined) return disk.changes.path;
  throw new ImageBuilderError('internal', 'a medium was opened as a disk with partitions');
}
