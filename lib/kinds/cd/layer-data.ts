import { type FileHandle, open } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { type FileRange, sliceRanges } from '../../image/copy-range.ts';
import { hashRanges } from '../../image/hash-ranges.ts';
import type { SameBytes } from '../../iso9660/compare-bytes.ts';
import { runOf } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { ChecksumAlgorithm } from '../../medium/checksum-lines.ts';
import { writeAll } from '../../write-all.ts';
import type { Digests } from './checksum-lists.ts';

/**
 * The data of a layer that its base has as well, nearly all of it. It is not in the file of the new layer: it is copied
 * once, from the base medium to the new one.
 */
export interface LayerData {
  /** File of the worker with all else of the new layer, in its place. */
  readonly restPath: string;
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

/** Layers on a new medium, by their paths. */
export type SplicedLayers = ReadonlyMap<string, LayerData>;

const restAlgorithm = 'sha256';

/** The digest of a layer but for the data of its base. `ranges` hold the whole layer. */
export async function digestRest(
  ranges: readonly FileRange[],
  { offsetBytes, sizeBytes }: Pick<LayerData, 'offsetBytes' | 'sizeBytes'>,
  signal: AbortSignal,
): Promise<string> {
  const end = offsetBytes + sizeBytes;
  const rest = [...sliceRanges(ranges, 0, offsetBytes), ...sliceRanges(ranges, end, Number.POSITIVE_INFINITY)];
  return (await hashRanges(rest, new Set([restAlgorithm]), { signal })).get(restAlgorithm) ?? '';
}

export interface PlaceOptions {
  readonly mediumPath: string;
  /** The new medium, and its files. */
  readonly output: FileHandle;
  readonly files: IsoTree;
  readonly layers: SplicedLayers;
  /** The digests that are wanted of each layer. */
  readonly algorithms: ReadonlyMap<string, ReadonlySet<ChecksumAlgorithm>>;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

/**
 * Writes the layers on a new medium that has room for them: the data of the base medium, and the rest from files of the
 * worker. Hashes each layer on the way. Throws `image.output` where the layers are not there in their sizes, `disk.full`,
 * or the reason of the signal.
 */
export async function placeLayerData(options: PlaceOptions): Promise<ReadonlyMap<string, Digests>> {
  const { output, files, layers, algorithms, signal } = options;
  const digests = new Map<string, Digests>();
  await using medium = await open(options.mediumPath, 'r');
  const totalBytes = [...layers.values()].reduce((sum, { layerBytes }) => sum + layerBytes, 0);
  let doneBytes = 0;
  for (const [layer, data] of layers) {
    const { restPath, baseBytes, offsetBytes, sizeBytes, layerBytes } = data;
    const run = runOfLayer(files, layer, data);
    await using handle = await open(restPath, 'r');
    const rest = [{ handle, offsetBytes: 0, sizeBytes: layerBytes }];
    const whole = [
      ...sliceRanges(rest, 0, offsetBytes),
      { handle: medium, offsetBytes: baseBytes, sizeBytes },
      ...sliceRanges(rest, offsetBytes + sizeBytes, layerBytes),
    ];
    const onChunk = async (chunk: Buffer, atBytes: number) => {
      await writeAll(output, chunk, run.offsetBytes + atBytes);
      doneBytes += chunk.length;
      options.onProgress(doneBytes / totalBytes);
    };
    digests.set(layer, await hashRanges(whole, algorithms.get(layer) ?? new Set(), { signal, onChunk }));
  }
  return digests;
}

/** The bytes that layers on a new medium must have in common with its base. Throws `image.output` as `placeLayerData` does. */
export function sameLayerData(files: IsoTree, layers: SplicedLayers): SameBytes[] {
  return [...layers].map(([layer, data]) => {
    const { baseBytes, offsetBytes, sizeBytes } = data;
    const made = { offsetBytes: runOfLayer(files, layer, data).offsetBytes + offsetBytes, sizeBytes };
    return { base: [{ offsetBytes: baseBytes, sizeBytes }], made: [made], fault: damage(layer) };
  });
}

/** Throws `image.output` unless layers on a new medium have all but the data of their bases as it was written. */
export async function checkLayerRests(
  made: FileHandle,
  files: IsoTree,
  layers: SplicedLayers,
  signal: AbortSignal,
): Promise<void> {
  for (const [layer, data] of layers) {
    const whole = [{ handle: made, ...runOfLayer(files, layer, data) }];
    if ((await digestRest(whole, data, signal)) !== data.restDigest) throw damaged(layer);
  }
}

function runOfLayer(files: IsoTree, layer: string, { layerBytes }: LayerData) {
  const run = runOf(files, layer);
  if (run.sizeBytes !== layerBytes) throw damaged(layer);
  return run;
}

function damage(layer: string): string {
  return `/${layer} of the new medium is not as it was written`;
}

function damaged(layer: string): ImageBuilderError {
  return new ImageBuilderError('image.output', damage(layer));
}
