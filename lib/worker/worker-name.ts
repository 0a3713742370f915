import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { isNodeError } from '../errors.ts';

/** A name that no other worker of this machine has; disposing gives it back. */
export interface WorkerName extends AsyncDisposable {
  readonly name: string;
}

/** More workers than a machine has. */
const maximumWorkers = 1_000;

/**
 * Takes the first free one of `base-1`, `base-2`, …: a worker that starts again has the name that it had before. The
 * kernel holds a name by a socket in its abstract namespace (unix(7)), which is the machine's or the container's, and
 * frees it when the process dies, in whatever way. Where that cannot be had, the process id takes the number's place.
 */
export async function takeWorkerName(base: string): Promise<WorkerName> {
  for (let number = 1; number <= maximumWorkers; number += 1) {
    const name = `${base}-${number}`;
    const held = await hold(name);
    if (held === 'failed') break;
    if (held !== 'taken') return { name, [Symbol.asyncDispose]: held };
  }
  return { name: `${base}-${process.pid}`, async [Symbol.asyncDispose]() {} };
}

/** Resolves with the function that frees the name. */
async function hold(name: string): Promise<'taken' | 'failed' | (() => Promise<void>)> {
  const server = createServer((socket) => socket.destroy());
  try {
    // A digest, because the kernel takes at most 107 bytes.
    server.listen(`\0imagebuilder-worker-${createHash('sha256').update(name).digest('hex')}`);
    await once(server, 'listening');
  } catch (error) {
    return isNodeError(error) && error.code === 'EADDRINUSE' ? 'taken' : 'failed';
  }
  // It must not keep the process.
  server.unref();
  return async () => {
    server.close();
    await once(server, 'close');
  };
}
