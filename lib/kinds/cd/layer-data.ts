import { type FileHandle, open } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { areEqual, copyRanges, type FileRange, sliceRanges } from '../../image/copy-range.ts';
import { inspectIso } from '../../iso9660/inspect.ts';
import { runOf } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { type Digests, hashRanges } from './checksum-lists.ts';

/**
 * The data of a layer that its base has as well, nearly all of it. It is not in the file of the new layer: it is copied
 * once, from the base medium to the new one.
 */
export interface LayerData {
  /** Its place in the base medium. */
  readonly baseBytes: number;
  /** Its place in the old layer and in the new one. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Size of the new layer. */
  readonly layerBytes: number;
  /** SHA-256 of all else of the new layer. */
  readonly restDigest: string;
}

/** Layers on a new medium by their paths, with the digests that its lists have of them. */
export type SplicedLayers = ReadonlyMap<string, LayerData & { readonly digests: Digests }>;

const restAlgorithm = 'sha256';

/** The digest of a layer but for the data of its base. `ranges` hold the whole layer. */
export async function digestRest(
  ranges: readonly FileRange[],
  { offsetBytes, sizeBytes }: Pick<LayerData, 'offsetBytes' | 'sizeBytes'>,
  signal: AbortSignal,
): Promise<string> {
  const end = offsetBytes + sizeBytes;
  const rest = [...sliceRanges(ranges, 0, offsetBytes), ...sliceRanges(ranges, end, Number.POSITIVE_INFINITY)];
  return (await hashRanges(rest, new Set([restAlgorithm]), signal)).get(restAlgorithm) ?? '';
}

/** All of a new layer, although its file has a hole where the data of its base belongs. */
export function rangesOfLayer(file: FileRange, data: LayerData | null, medium: FileHandle): readonly FileRange[] {
  if (data === null) return [file];
  const { baseBytes, offsetBytes, sizeBytes } = data;
  return [
    ...sliceRanges([file], 0, offsetBytes),
    { handle: medium, offsetBytes: baseBytes, sizeBytes },
    ...sliceRanges([file], offsetBytes + sizeBytes, file.sizeBytes),
  ];
}

/**
 * Copies the data of the base medium into the layers on a new medium that were left without. Throws `image.output` where
 * the layers are not there in their sizes, `disk.full`, or the reason of the signal.
 */
export async function placeLayerData(
  mediumPath: string,
  newPath: string,
  layers: ReadonlyMap<string, LayerData>,
  limits: { readonly maximumBytes: number; readonly signal: AbortSignal },
): Promise<void> {
  if (layers.size === 0) return;
  await using medium = await open(mediumPath, 'r');
  await using output = await open(newPath, 'r+');
  const { files } = await inspectIso(output, limits);
  for (const [layer, data] of layers) {
    const { baseBytes, offsetBytes, sizeBytes } = data;
    const run = runOfLayer(files, layer, data);
    const from = { handle: medium, offsetBytes: baseBytes, sizeBytes };
    await copyRanges([from], output, run.offsetBytes + offsetBytes, limits.signal);
  }
}

/**
 * Throws `image.output` unless the layers on a new medium have the data of their bases, byte by byte, and all else as it
 * was written.
 */
export async function checkLayerData(
  medium: FileHandle,
  made: FileHandle,
  files: IsoTree,
  layers: SplicedLayers,
  signal: AbortSignal,
): Promise<void> {
  for (const [layer, data] of layers) {
    const { baseBytes, offsetBytes, sizeBytes, restDigest } = data;
    const whole = [{ handle: made, ...runOfLayer(files, layer, data) }];
    const found = sliceRanges(whole, offsetBytes, offsetBytes + sizeBytes);
    const isSame = await areEqual([{ handle: medium, offsetBytes: baseBytes, sizeBytes }], found, signal);
    if (!isSame || (await digestRest(whole, data, signal)) !== restDigest) throw damaged(layer);
  }
}

function runOfLayer(files: IsoTree, layer: string, { layerBytes }: LayerData) {
  const run = runOf(files, layer);
  if (run.sizeBytes !== layerBytes) throw damaged(layer);
  return run;
}

function damaged(layer: string): ImageBuilderError {
  return new ImageBuilderError('image.output', `/${layer} of the new medium is not as it was written`);
}
