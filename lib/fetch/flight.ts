import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { orAborted } from '../async.ts';
import type { HttpClient } from '../http/client.ts';
import { type Download, download } from './download.ts';

/** An object that can be read, possibly while it is still being downloaded. */
export interface AptObject extends AsyncDisposable {
  readonly source: 'cache' | 'upstream';
  readonly etag: string | null;
  readonly lastModified: string | null;
  /** Null before the server has sent it. */
  readonly sizeBytes: number | null;
  /** The bytes from `start` up to, not including, `end`. */
  read(start: number, end: number): AsyncIterable<Buffer>;
}

/** One download that any number of readers follow while it grows. It is given up when its last reader has left. */
export interface Flight {
  /**
   * Resolves as soon as the server has answered. `join`, and reading, throw the download's error or the signal's
   * reason.
   */
  join(signal: AbortSignal): Promise<AptObject>;
}

export interface FlightOptions {
  readonly url: string;
  readonly client: HttpClient;
  /** A path that only this flight uses; removed at its end unless `onArrival` moved it away. */
  readonly partPath: string;
  /** If-None-Match or If-Modified-Since: the flight then fails with status 304 when nothing has changed. */
  readonly conditions: Readonly<Record<string, string>>;
  /** The file is whole. `digestOf` hashes it, in lower-case hexadecimal. */
  readonly onArrival: (
    download: Download,
    partPath: string,
    digestOf: (algorithm: 'sha256' | 'sha512') => Promise<string>,
  ) => Promise<void>;
  readonly onBytes?: (bytes: number) => void;
  /** No more reader may join; called once or twice. */
  readonly onEnd: () => void;
}

interface Head {
  readonly file: FileHandle;
  readonly etag: string | null;
  readonly lastModified: string | null;
  readonly sizeBytes: number | null;
}

const chunkBytes = 64 * 1024;

/** Starts the download; the caller joins it at once. */
export function startFlight(options: FlightOptions): Flight {
  const { url, client, partPath } = options;
  const stop = new AbortController();
  const head = Promise.withResolvers<Head>();
  let readFrom: FileHandle | null = null;
  let readers = 0;
  let availableBytes = 0;
  let totalBytes: number | null = null;
  let ended = false;
  let failure: unknown = null;
  let change = Promise.withResolvers<void>();

  function tell(): void {
    change.resolve();
    change = Promise.withResolvers();
  }

  async function fly(): Promise<void> {
    const result = await download({
      url,
      partPath,
      client,
      signal: stop.signal,
      // The download checks the disk space all the same, and the packages have to fit into the image.
      maximumBytes: Number.MAX_SAFE_INTEGER,
      headers: options.conditions,
      notFoundCode: 'upstream.status',
      mayRestart: false,
      onBytes: options.onBytes,
      async onHead({ headers }, sizeBytes) {
        totalBytes = sizeBytes;
        readFrom ??= await open(partPath, 'r');
        const { etag = null, 'last-modified': lastModified = null } = headers;
        head.resolve({ file: readFrom, etag, lastModified, sizeBytes });
      },
      onProgress(currentBytes) {
        availableBytes = currentBytes;
        tell();
      },
    });
    await options.onArrival(result, partPath, (algorithm) => hashFile(partPath, algorithm));
  }

  async function end(): Promise<void> {
    try {
      await fly();
    } catch (error) {
      failure = error;
      head.reject(error);
    }
    ended = true;
    options.onEnd();
    tell();
    await rm(partPath, { force: true });
    await rm(`${partPath}.json`, { force: true });
  }

  async function* follow(
    file: FileHandle,
    start: number,
    end: number,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void> {
    for (let position = start; position < end; ) {
      const wantedBytes = Math.min(chunkBytes, end - position, availableBytes - position);
      if (wantedBytes > 0) {
        const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(wantedBytes), 0, wantedBytes, position);
        position += bytesRead;
        yield buffer.subarray(0, bytesRead);
      } else if (ended) {
        if (failure !== null) throw failure;
        return;
      } else {
        await orAborted(change.promise, signal);
      }
    }
  }

  async function leave(): Promise<void> {
    readers -= 1;
    if (readers > 0) return;
    // A reader may leave with its last byte, a moment before the download has ended and is cached: do not give it up
    // then.
    if (!ended && availableBytes !== totalBytes) {
      options.onEnd();
      stop.abort();
    }
    await finished;
    // Another one may have joined while the download was being cached, and reads on.
    if (readers > 0) return;
    const file = readFrom;
    readFrom = null;
    await file?.close();
  }

  head.promise.catch(() => undefined);
  const finished = end();

  return {
    async join(signal) {
      readers += 1;
      try {
        const { file, etag, lastModified, sizeBytes } = await orAborted(head.promise, signal);
        return {
          source: 'upstream',
          etag,
          lastModified,
          sizeBytes,
          read: (start, end) => follow(file, start, end, signal),
          [Symbol.asyncDispose]: leave,
        };
      } catch (error) {
        await leave();
        throw error;
      }
    },
  };
}

async function hashFile(path: string, algorithm: 'sha256' | 'sha512'): Promise<string> {
  const hash = createHash(algorithm);
  await using file = await open(path, 'r');
  for await (const chunk of file.createReadStream({ autoClose: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
