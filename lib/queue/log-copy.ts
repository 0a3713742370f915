import { type LogChunk, textOf } from './log-chunk.ts';

/**
 * The log of one build as far as the logs stream has it, all attempts one after the other. It is kept as it was sent,
 * compressed, so that any number of readers can each be at another place of it.
 */
export interface LogCopy {
  /** The end of the text, in bytes from the beginning of the log. */
  readonly size: number;
  /** True where every byte from 0 to `size` is there. */
  readonly isWhole: boolean;
  /** The newest attempt that has said that the build ends; 0: none. */
  readonly endedAttempt: number;
  /** True where the copy has taken too much memory and was given up. */
  readonly isCut: boolean;
  /**
   * The text from `at` to the end of its chunk, or null where there is none from there on. `from` is later than `at` where
   * text is missing.
   */
  read(at: number): Promise<{ readonly from: number; readonly text: Buffer } | null>;
  /** Calls the listener when something has been added. Returns the function that ends that. */
  onChange(listener: () => void): () => void;
}

/** The side of a copy that only its reader of the stream uses. */
export interface FedLogCopy extends LogCopy {
  /** Bytes of memory. */
  readonly packedBytes: number;
  /** Adds the next chunk of the stream; one that was there before changes nothing. */
  take(chunk: LogChunk): void;
  cut(): void;
}

interface Part extends Pick<LogChunk, 'packed' | 'bytes'> {
  /** From the beginning of the log. */
  readonly from: number;
}

export function createLogCopy(): FedLogCopy {
  const parts: Part[] = [];
  const listeners = new Set<() => void>();
  let attempt = 0;
  /** The place where the text of the newest attempt begins. */
  let base = 0;
  let size = 0;
  let isWhole = true;
  let isCut = false;
  let endedAttempt = 0;
  let packedBytes = 0;
  /** The part that was read last: most readers are at the same place. */
  let newest: { readonly part: Part; readonly text: Promise<Buffer> } | undefined;

  const changed = () => {
    for (const listener of listeners) listener();
  };

  /** The first part that ends after `at`. */
  const find = (at: number): Part | undefined => {
    let low = 0;
    let high = parts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const part = parts[middle] as Part;
      if (part.from + part.bytes > at) high = middle;
      else low = middle + 1;
    }
    return parts[low];
  };

  return {
    get size() {
      return size;
    },
    get isWhole() {
      return isWhole;
    },
    get endedAttempt() {
      return endedAttempt;
    },
    get isCut() {
      return isCut;
    },
    get packedBytes() {
      return packedBytes;
    },
    take(chunk) {
      if (isCut || chunk.attempt < attempt) return;
      if (chunk.attempt > attempt) {
        attempt = chunk.attempt;
        base = size;
      }
      const from = base + chunk.from;
      // A chunk that was sent twice.
      if (from < size) return;
      if (from > size) isWhole = false;
      size = from + chunk.bytes;
      if (chunk.bytes > 0) parts.push({ from, bytes: chunk.bytes, packed: chunk.packed });
      packedBytes += chunk.packed.length;
      if (chunk.end) endedAttempt = attempt;
      changed();
    },
    cut() {
      isCut = true;
      parts.length = 0;
      changed();
    },
    async read(at) {
      const part = find(at);
      if (part === undefined) return null;
      if (newest?.part !== part) newest = { part, text: textOf(part) };
      const from = Math.max(at, part.from);
      return { from, text: (await newest.text).subarray(from - part.from) };
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
