// @ts-check
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';

/** The thread that hashes by one algorithm; hash-ranges.ts starts it, and ends it. JavaScript: see answering-thread.ts. */

/** @type {import('./hash-ranges.ts').HashJob} */
const { algorithm, memory } = workerData;
const hash = createHash(algorithm);

parentPort?.on('message', (/** @type {import('./hash-ranges.ts').HashPiece | null} */ piece) => {
  if (piece !== null) hash.update(new Uint8Array(memory, piece.offsetBytes, piece.sizeBytes));
  parentPort?.postMessage(piece === null ? hash.digest('hex') : '');
});
