import { open, rm } from 'node:fs/promises';
import { Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { toImageBuilderError } from '../errors.ts';
import { formatBytes } from '../text.ts';
import type { GuestScript } from './guest.ts';
import { limitError } from './script-run.ts';

/** The worker's end of a script's outbox. The script's bytes are counted and stored; nothing here looks at them. */
export interface Outbox extends AsyncDisposable {
  /** Takes the script's bytes. */
  readonly input: Writable;
  /** Aborted, with the error as its reason, when these are too many, or the file cannot be written. */
  readonly failed: AbortSignal;
  /** Resolves when the file holds all bytes. Without this, disposing removes it. Throws the reason of `failed`. */
  keep(): Promise<void>;
}

/** Makes the file of a script's outbox; null where the script has none. Throws where something has this path already. */
export async function openOutbox({ name, outbox }: Pick<GuestScript, 'name' | 'outbox'>): Promise<Outbox | null> {
  if (outbox === undefined) return null;
  const { path, maximumBytes } = outbox;
  const file = await open(path, 'wx', 0o600);
  let bytes = 0;
  const input = new Transform({
    transform(chunk: Buffer, _encoding, pass) {
      bytes += chunk.length;
      const allowed = `room than the ${formatBytes(maximumBytes)} that the result of the script ${name} may have`;
      if (bytes > maximumBytes) pass(limitError(allowed));
      else pass(null, chunk);
    },
  });
  const failure = new AbortController();
  const written = pipeline(input, file.createWriteStream()).catch((error: unknown) =>
    failure.abort(toImageBuilderError(error)),
  );
  let kept = false;
  return {
    input,
    failed: failure.signal,
    async keep() {
      await written;
      failure.signal.throwIfAborted();
      kept = true;
    },
    async [Symbol.asyncDispose]() {
      if (kept) return;
      input.destroy();
      await written;
      await rm(path, { force: true });
    },
  };
}
