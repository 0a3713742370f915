// @ts-check
import { openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { constants, deflateRawSync, zstdCompressSync } from 'node:zlib';

/** A thread that compresses clusters; compress.ts starts it, and ends it. JavaScript: see answering-thread.ts. */

/** @typedef {import('./compress.ts').StoredPiece} StoredPiece */

/** @type {import('./compress.ts').ThreadJob} */
const { path, clusterSizeBytes, method, memory } = workerData;
const file = openSync(path, 'r');
const zeros = Buffer.alloc(clusterSizeBytes);
/** Read into again and again: each new buffer brings the next collection of garbage nearer. */
let space = Buffer.alloc(0);

/** QEMU reads deflate with a window of 4 KiB: data that look back further would not be read. */
const windowBits = 12;
/**
 * Of 72 MiB of programs and their files, level 6 makes 29.6 MiB in 0.92 s, level 4 30.0 MiB in 0.71 s, and level 1
 * 31.2 MiB in 0.55 s.
 */
const zlibOptions = { level: 4, windowBits, memLevel: 8, chunkSize: clusterSizeBytes };
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 3 }, chunkSize: clusterSizeBytes };

parentPort?.on('message', (/** @type {import('./compress.ts').ThreadBatch} */ { pieces, offsetBytes, sizeBytes }) => {
  parentPort?.postMessage(compress(pieces, new Uint8Array(memory, offsetBytes, sizeBytes)));
});

/**
 * The lengths of the compressed clusters, which it puts into `data`, one behind the other.
 * @param {readonly StoredPiece[]} pieces
 * @param {Uint8Array} data
 * @returns {number[]}
 */
function compress(pieces, data) {
  const lengths = [];
  let filled = 0;
  for (const piece of pieces) {
    const content = readPiece(piece, Math.ceil(piece.sizeBytes / clusterSizeBytes) * clusterSizeBytes);
    for (let start = 0; start < content.length; start += clusterSizeBytes) {
      const stored = compressCluster(content.subarray(start, start + clusterSizeBytes));
      data.set(stored, filled);
      filled += stored.length;
      lengths.push(stored.length);
    }
  }
  return lengths;
}

/**
 * The piece, with zeros up to `length`: the last cluster of a disk reaches beyond its end. Valid until the next call.
 * @param {StoredPiece} piece
 * @param {number} length
 * @returns {Buffer}
 */
function readPiece({ hostOffset, sizeBytes }, length) {
  if (space.length < length) space = Buffer.allocUnsafe(length);
  const content = space.subarray(0, length);
  let filled = 0;
  while (filled < sizeBytes) {
    const bytesRead = readSync(file, content, filled, sizeBytes - filled, hostOffset + filled);
    // The file of an overlay may end within its last cluster, which is zero from there on.
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  content.fill(0, filled);
  return content;
}

/**
 * @param {Buffer} cluster
 * @returns {Uint8Array}
 */
function compressCluster(cluster) {
  if (cluster.equals(zeros)) return new Uint8Array(0);
  const compressed = method === 'zlib' ? deflateRawSync(cluster, zlibOptions) : zstdCompressSync(cluster, zstdOptions);
  return compressed.length < cluster.length ? compressed : cluster;
}
