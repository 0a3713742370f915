import { mkdtemp, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageBuilderError, messageOf } from '../errors.ts';
import { accepts } from './socket.ts';

const prefix = 'imagebuilder-serve-';
const wakeSocketName = 'wake.sock';
const staleAfterMs = 60_000;

export interface RuntimeDirectory extends AsyncDisposable {
  readonly path: string;
  /** Socket on which the gateway listens for its functions' wakes. */
  readonly wakeSocket: string;
}

/**
 * Makes a folder for the functions' sockets that only this user can enter, removed when disposed. A gateway that is
 * killed cannot remove its own, and its functions take their sockets with them. An earlier gateway may so have left a
 * folder with a wake socket that no process listens on; this function clears it away. Throws `config.invalid` where
 * `parent` cannot be used.
 */
export async function createRuntimeDirectory(parent: string = tmpdir()): Promise<RuntimeDirectory> {
  try {
    return await create(parent);
  } catch (error) {
    const reason = messageOf(error);
    throw new ImageBuilderError('config.invalid', `the folder for temporary files cannot be used: ${reason}`, {
      cause: error,
    });
  }
}

async function create(parent: string): Promise<RuntimeDirectory> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(parent, name);
    try {
      if (Date.now() - (await stat(path)).mtimeMs <= staleAfterMs) continue;
      const wakeSocket = join(path, wakeSocketName);
      if (await accepts(wakeSocket)) continue;
      await rm(wakeSocket, { force: true });
      await rmdir(path);
    } catch {
      // In use (not empty), another user's, or gone already.
    }
  }
  const path = await mkdtemp(join(parent, prefix));
  return {
    path,
    wakeSocket: join(path, wakeSocketName),
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}
