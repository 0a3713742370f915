/** Bytes that come in chunks, gathered in one piece of memory that grows. */
export interface ByteBuffer {
  /** Bytes so far. */
  readonly size: number;
  append(chunk: Uint8Array): void;
  /** The bytes gathered so far; valid until the next `append`. */
  bytes(): Buffer;
}

const firstBytes = 16 * 1024;

/** An empty buffer. A list of chunks would take a hundred times the memory for a sender of chunks of one byte. */
export function createByteBuffer(): ByteBuffer {
  let kept = Buffer.alloc(0);
  let size = 0;
  return {
    get size() {
      return size;
    },
    append(chunk) {
      const needed = size + chunk.length;
      if (needed > kept.length) {
        const grown = Buffer.allocUnsafeSlow(Math.max(firstBytes, needed, 2 * kept.length));
        kept.copy(grown, 0, 0, size);
        kept = grown;
      }
      kept.set(chunk, size);
      size = needed;
    },
    bytes: () => kept.subarray(0, size),
  };
}
