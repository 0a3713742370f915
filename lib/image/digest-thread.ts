import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { FromDigestThread, ToDigestThread } from './digest.ts';

/** The thread that hashes a file by one algorithm; digest.ts starts it. */

const { path, algorithm } = workerData as ToDigestThread;
const tell = (message: FromDigestThread) => parentPort?.postMessage(message);

const file = openSync(path, 'r');
const hash = createHash(algorithm);
const buffer = Buffer.allocUnsafe(1024 * 1024);
let currentBytes = 0;
for (;;) {
  const bytesRead = readSync(file, buffer);
  if (bytesRead === 0) break;
  hash.update(buffer.subarray(0, bytesRead));
  currentBytes += bytesRead;
  tell({ currentBytes, digest: null });
}
closeSync(file);
tell({ currentBytes, digest: hash.digest('hex') });
