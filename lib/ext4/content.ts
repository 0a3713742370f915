import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { readAt } from '../image/read-at.ts';
import { formatBytes } from '../text.ts';
import { writeSparse } from '../write-sparse.ts';
import { blockBytes, type Run } from './inode.ts';

/** The blocks for contents, filled from the first to the last. */
export interface ContentWriter {
  /** The first block that is still free. */
  readonly next: number;
  /** Stores bytes in whole blocks. Throws `image.too_large` where there is no room for them. */
  append(bytes: Buffer): Promise<Run>;
  /** Stores bytes of the source. Throws `image.truncated` where it ends within them, too. */
  copy(at: number, sizeBytes: number): Promise<Run>;
  /** Writes what is still in memory. */
  end(): Promise<void>;
}

export interface ContentOptions {
  readonly source: FileHandle;
  readonly target: FileHandle;
  readonly first: number;
  /** Blocks of the file system. */
  readonly blocks: number;
  readonly signal: AbortSignal;
}

const windowBytes = 2 ** 20;

export function createContentWriter({ source, target, first, blocks, signal }: ContentOptions): ContentWriter {
  let next = first;
  // A window of the output, and one of the source: most files are small, and follow one another in both.
  const room = Buffer.alloc(windowBytes);
  let roomAt = first * blockBytes;
  let filled = 0;
  let window: Buffer = Buffer.alloc(0);
  let windowAt = 0;

  const flush = async () => {
    signal.throwIfAborted();
    await writeSparse(target, room.subarray(0, filled), roomAt);
    room.fill(0, 0, filled);
    roomAt += filled;
    filled = 0;
  };
  const put = async (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + windowBytes - filled);
      part.copy(room, filled);
      filled += part.length;
      at += part.length;
      if (filled === windowBytes) await flush();
    }
  };
  const read = async (at: number, length: number): Promise<Buffer> => {
    if (at < windowAt || at + length > windowAt + window.length) {
      // Behind the content, a tar has at least its end.
      const { size } = await source.stat();
      window = await readAt(source, at, Math.max(length, Math.min(windowBytes, size - at)));
      windowAt = at;
    }
    return window.subarray(at - windowAt, at - windowAt + length);
  };
  const take = (sizeBytes: number): Run => {
    const run = { start: next, count: Math.ceil(sizeBytes / blockBytes) };
    next += run.count;
    if (next > blocks) {
      const size = formatBytes(blocks * blockBytes);
      throw new ImageBuilderError('image.too_large', `the files of the image do not fit into a file system of ${size}`);
    }
    return run;
  };
  const pad = async (sizeBytes: number) =>
    await put(Buffer.alloc((blockBytes - (sizeBytes % blockBytes)) % blockBytes));
  return {
    get next() {
      return next;
    },
    async append(bytes) {
      const run = take(bytes.length);
      await put(bytes);
      await pad(bytes.length);
      return run;
    },
    async copy(at, sizeBytes) {
      const run = take(sizeBytes);
      for (let done = 0; done < sizeBytes; done += windowBytes) {
        await put(await read(at + done, Math.min(windowBytes, sizeBytes - done)));
      }
      await pad(sizeBytes);
      return run;
    },
    end: flush,
  };
}
