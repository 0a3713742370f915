import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestScript } from '../guest.ts';
import { fileNames } from '../script-run.ts';
import { type IsoContent, writeIso } from './iso9660.ts';

/**
 * The disk by which the worker hands a script and its files to the vm. Its size is that of a sparse file, fixed when
 * the vm starts; each script is written to its beginning, and its room is freed afterwards.
 */
export interface Payload extends AsyncDisposable {
  readonly path: string;
  /** Writes `start`, which init runs, and beside it the files of a script in `files/`. */
  write(start: string, script: Pick<GuestScript, 'text' | 'files' | 'folder'>, signal: AbortSignal): Promise<void>;
  /** Empties it. */
  clear(): Promise<void>;
}

const payloadBytes = 64 * 1024 ** 3;

export async function openPayload(directory: string): Promise<Payload> {
  const path = join(directory, 'payload.raw');
  const file: FileHandle = await open(path, 'wx+', 0o600);
  const clear = async () => {
    await file.truncate(0);
    await file.truncate(payloadBytes);
  };
  await clear();
  return {
    path,
    clear,
    async write(start, script, signal) {
      const files = new Map<string, IsoContent>([['start', Buffer.from(start)]]);
      for (const [name, content] of Object.entries({ ...script.files, script: script.text })) {
        files.set(`files/${name}`, Buffer.from(content));
      }
      if (script.folder !== undefined) {
        for (const name of await fileNames(script.folder)) {
          files.set(`files/folder/${name}`, { copyOf: join(script.folder, name) });
        }
      }
      await writeIso(file, files, signal);
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}
