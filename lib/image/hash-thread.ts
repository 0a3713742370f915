import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import type { HashJob, HashPiece } from './hash-ranges.ts';

/** The thread that hashes by one algorithm; hash-ranges.ts starts it, and ends it. */

const { algorithm, memory } = workerData as HashJob;
const hash = createHash(algorithm);

parentPort?.on('message', (piece: HashPiece | null) => {
  if (piece !== null) hash.update(new Uint8Array(memory, piece.offsetBytes, piece.sizeBytes));
  parentPort?.postMessage(piece === null ? hash.digest('hex') : '');
});
