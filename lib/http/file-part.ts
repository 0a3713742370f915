import type { Hash } from 'node:crypto';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Request } from 'got';

/** Part of a file as the body of a request. */
export interface FilePart {
  readonly path: string;
  readonly startByte: number;
  readonly bytes: number;
  /** Is updated with every byte sent. */
  readonly digest?: Hash;
  /** Called with the number of bytes of the part that are sent. */
  readonly onProgress?: (sentBytes: number) => void;
}

export interface SendFileOptions {
  /** The answer to the request. */
  readonly answered: Promise<unknown>;
  readonly stallTimeoutMs: number;
  /** Called where the server takes not a byte for that long; closes the stream. */
  readonly stalled: () => void;
  /** Whether the server is waited for before the first byte. */
  readonly expects: boolean;
  /** Called before the first byte is read. */
  readonly begun: () => void;
}

/** Time to wait for "100 Continue". Servers and proxies that do not know it get the body anyway (as with curl). */
const continueTimeoutMs = 1_000;
const chunkBytes = 256 * 1024;

/**
 * Writes the part once the server has asked for it, and leaves the end of the body to the caller. Resolves with true
 * when the last byte has left for the kernel, with false where an answer made sending needless or the connection was
 * closed. Throws where the file cannot be read or has fewer bytes.
 *
 * Two buffers take turns, since new ones for every chunk were measured to cost as much time as all the rest.
 */
export async function sendFile(
  stream: Request,
  { path, startByte, bytes, digest, onProgress }: FilePart,
  { answered, stallTimeoutMs, stalled, expects, begun }: SendFileOptions,
): Promise<boolean> {
  if (expects && !(await isWanted(stream, answered))) return false;
  begun();
  await using file = await open(path, 'r');
  const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
  const buffers = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)] as const;
  const timer = setTimeout(stalled, stallTimeoutMs);
  const write = async (chunk: Buffer, sentBytes: number) => {
    await Promise.race([closed, new Promise<void>((resolve) => stream.write(chunk, () => resolve()))]);
    timer.refresh();
    if (!stream.destroyed) onProgress?.(sentBytes);
  };
  try {
    let writing = Promise.resolve();
    for (let position = 0, turn = 0; position < bytes && !stream.destroyed; turn += 1) {
      const buffer = buffers[turn % 2 === 0 ? 0 : 1];
      const wanted = Math.min(chunkBytes, bytes - position);
      const { bytesRead } = await file.read(buffer, 0, wanted, startByte + position);
      if (bytesRead === 0) throw new Error(`${path} has become shorter while it was uploaded`);
      const chunk = buffer.subarray(0, bytesRead);
      position += bytesRead;
      digest?.update(chunk);
      await writing;
      writing = write(chunk, position);
    }
    await writing;
    return !stream.destroyed;
  } finally {
    clearTimeout(timer);
  }
}

/** False when the server answers instead of asking for the body. */
async function isWanted(stream: Request, answered: Promise<unknown>): Promise<boolean> {
  const waiting = new AbortController();
  const { signal } = waiting;
  try {
    return await Promise.race([
      answered.then(() => false),
      once(stream, 'continue', { signal }).then(() => true),
      sleep(continueTimeoutMs, true, { signal }),
    ]);
  } finally {
    waiting.abort();
  }
}
