import { type FileHandle, open } from 'node:fs/promises';
import type { CommonRun } from '../../../common-run.ts';
import { type ChangedFile, openChangedFile } from '../../changed-file.ts';
import type { Delta } from '../../delta.ts';
import { readAt } from '../../read-at.ts';
import { readEntry } from '../entry.ts';
import { headerAreaBytes, parseHeader, type Qcow2Header } from '../header.ts';
import { corrupt, unsupported } from '../refusals.ts';
import { forEachTable } from '../tables.ts';
import {
  type CompressedBatch,
  type CompressJob,
  type Compressor,
  type StoredPiece,
  startCompressor,
} from './compress.ts';
import { type FileSpace, openSpace } from './space.ts';
import { type Entries, openEntries, soleReference } from './tables.ts';

export interface AppendOptions {
  /** A copy of the base, as large a disk as the overlay; its tables have been checked, and nobody else has it open. */
  readonly outputPath: string;
  /** Its clusters are as large as those of the base, or a multiple. */
  readonly overlayPath: string;
  readonly delta: Delta;
  /** One of `compressorFor` for this image. */
  readonly compressor: Compressor;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

/** A batch is read and compressed at once: some clusters, or one large one. */
const batchBytes = 1024 * 1024;

/** Clusters of the overlay that hold data, and where they lie on the disk. */
interface Batch {
  readonly pieces: readonly (StoredPiece & { readonly diskOffset: number })[];
}

/** Starts to get ready for compressing the changes in an overlay by the method of an image, for `appendChanges`. */
export async function compressorFor(
  { clusterSizeBytes, compression: method }: Pick<Qcow2Header, 'clusterSizeBytes' | 'compression'>,
  { path, delta }: { readonly path: string; readonly delta: Delta },
  signal: AbortSignal,
): Promise<Compressor> {
  const job: CompressJob = {
    ...{ path, clusterSizeBytes, method },
    batchBytes: Math.max(batchBytes, delta.clusterSizeBytes),
  };
  return await startCompressor(job, delta.dataBytes, signal);
}

/**
 * Replaces the changed clusters of a qcow2 image by those of an overlay, compressed by the image's own method. What
 * becomes free is used for them, or zero afterwards. Returns the long runs of bytes that are those of the base still.
 * Memory is bounded but for 2 bytes for each cluster of the image.
 * Throws `image.unsupported` for images or overlays with unusual features, `image.corrupt` where their tables
 * contradict themselves, the reason of `signal`, and Node’s own errors.
 */
export async function appendChanges(options: AppendOptions): Promise<CommonRun[]> {
  const { outputPath, overlayPath, delta, compressor, signal, onProgress } = options;
  await using handle = await open(outputPath, 'r+');
  await using overlay = await open(overlayPath, 'r');
  const header = await readHeader(handle, false);
  const { unusual } = header;
  if (unusual.length > 0) throw unsupported(`the image has ${unusual.join(', ')}`);
  const { size } = await handle.stat();
  const output = openChangedFile(handle, size);
  const space = await openSpace(output, header, size);
  const entries = await openEntries(output, header, space, size);
  await free(delta, header, { space, entries }, signal);

  let doneBytes = 0;
  for await (const { batch, compressed } of compressor.compress(batchesOf(overlay, signal))) {
    signal.throwIfAborted();
    await store(batch, compressed, { output, header, space, entries });
    doneBytes += batch.pieces.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    onProgress(Math.min(1, doneBytes / delta.dataBytes));
  }
  await entries.flush();
  await space.write(signal);
  onProgress(1);
  return output.unchanged();
}

async function readHeader(handle: FileHandle, allowBackingFile: boolean): Promise<Qcow2Header> {
  const { size } = await handle.stat();
  const head = await readAt(handle, 0, Math.min(size, headerAreaBytes));
  return parseHeader(head, { maximumVirtualBytes: Number.MAX_SAFE_INTEGER, allowBackingFile });
}

/** Takes the changed clusters out of the image: they read as zeros afterwards. */
async function free(
  { extents }: Delta,
  { clusterSizeBytes }: Qcow2Header,
  { space, entries }: { readonly space: FileSpace; readonly entries: Entries },
  signal: AbortSignal,
): Promise<void> {
  for (const { offsetBytes, sizeBytes } of extents) {
    signal.throwIfAborted();
    const end = Math.ceil((offsetBytes + sizeBytes) / clusterSizeBytes);
    for (let cluster = Math.floor(offsetBytes / clusterSizeBytes); cluster < end; cluster++) {
      if (!entries.hasTable(cluster)) {
        // On to the last cluster of this table.
        cluster += entries.perTable - 1 - (cluster % entries.perTable);
        continue;
      }
      if (cluster % entries.perTable === 0) signal.throwIfAborted();
      const was = await entries.read(cluster);
      if (was.kind === 'unallocated') continue;
      if (was.kind === 'invalid') throw corrupt(`an entry of its L2 tables ${was.why}`);
      if (was.kind === 'compressed') await space.release(was.hostOffset, was.maximumBytes);
      else if (was.hostOffset !== 0) await space.release(was.hostOffset, clusterSizeBytes);
      await entries.write(cluster, 0n);
    }
  }
}

/** The data of an overlay, in the order of the disk. */
async function* batchesOf(overlay: FileHandle, signal: AbortSignal): AsyncGenerator<Batch, void, undefined> {
  const header = await readHeader(overlay, true);
  const { clusterSizeBytes, virtualSizeBytes, extendedL2 } = header;
  if (extendedL2) throw unsupported('the overlay has extended L2 entries');
  const { size: fileSizeBytes } = await overlay.stat();
  const perBatch = Math.max(1, batchBytes / clusterSizeBytes);
  let pieces: Batch['pieces'][number][] = [];
  for await (const { firstCluster, table } of forEachTable(overlay, header, { fileSizeBytes, signal })) {
    for (let entry = 0; entry * 8 < table.length; entry++) {
      const diskOffset = (firstCluster + entry) * clusterSizeBytes;
      if (diskOffset >= virtualSizeBytes) break;
      const cluster = readEntry(table, entry * 8, header);
      if (cluster.kind === 'unallocated' || cluster.kind === 'zero') continue;
      if (cluster.kind !== 'data') throw unsupported('the overlay has clusters that are compressed, or damaged');
      const sizeBytes = Math.min(clusterSizeBytes, virtualSizeBytes - diskOffset);
      pieces.push({ hostOffset: cluster.hostOffset, sizeBytes, diskOffset });
      if (pieces.length < perBatch) continue;
      yield { pieces };
      pieces = [];
    }
  }
  if (pieces.length > 0) yield { pieces };
}

/** Writes the clusters of a batch, those that adjoin in one go, and their entries. */
async function store(
  { pieces }: Batch,
  { lengths, data }: CompressedBatch,
  {
    output,
    header,
    space,
    entries,
  }: {
    readonly output: ChangedFile;
    readonly header: Qcow2Header;
    readonly space: FileSpace;
    readonly entries: Entries;
  },
): Promise<void> {
  const { clusterSizeBytes } = header;
  const clusters = pieces.flatMap(({ diskOffset, sizeBytes }) =>
    Array.from(
      { length: Math.ceil(sizeBytes / clusterSizeBytes) },
      (_, index) => diskOffset / clusterSizeBytes + index,
    ),
  );
  /** Bytes of `data` that wait to be written to a place of the file. */
  let run = { from: 0, to: 0, place: 0 };
  const write = async () => await output.write(data.subarray(run.from, run.to), run.place);
  for (const [index, cluster] of clusters.entries()) {
    const length = lengths[index] ?? 0;
    if (length === 0) continue;
    const place = await (length === clusterSizeBytes ? space.takeCluster() : space.takeBytes(length));
    if (place !== run.place + run.to - run.from) {
      await write();
      run = { from: run.to, to: run.to, place };
    }
    run.to += length;
    await entries.write(
      cluster,
      length === clusterSizeBytes ? soleReference | BigInt(place) : compressedEntry(place, length, header),
    );
  }
  await write();
}

/** The entry of compressed data: their place, and how many sectors they touch beyond the first. */
function compressedEntry(place: number, length: number, { clusterBits }: Qcow2Header): bigint {
  const offsetBits = 62 - (clusterBits - 8);
  if (place >= 2 ** offsetBits) throw unsupported('the image has become too large for compressed data');
  const sectors = Math.floor((place + length - 1) / 512) - Math.floor(place / 512);
  return (1n << 62n) | (BigInt(sectors) << BigInt(offsetBits)) | BigInt(place);
}
