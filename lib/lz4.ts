/**
 * The legacy frames of LZ4, in which the kernel's build and initramfs-tools compress initial ramdisks (lz4 -l): blocks
 * of at most 8 MiB, each behind its length (LZ4 Frame Format Description, and LZ4 Block Format Description).
 */
export interface Lz4Reader {
  /** Takes the next bytes, from behind the magic number on. Throws RangeError where they are no such block. */
  push(chunk: Buffer): void;
  /** True where no block has begun without its end. */
  readonly whole: boolean;
}

const blockBytes = 8 * 2 ** 20;
/** A block that cannot be compressed takes a little more. */
const maximumPackedBytes = blockBytes + Math.ceil(blockBytes / 255) + 16;
const magic = 0x184c2102;

export function createLz4Reader(onBlock: (block: Buffer) => void): Lz4Reader {
  let chunks: Buffer[] = [];
  let heldBytes = 0;
  let wantedBytes = 4;
  return {
    push(chunk) {
      chunks.push(chunk);
      heldBytes += chunk.length;
      while (heldBytes >= wantedBytes) {
        const [first] = chunks;
        const held: Buffer = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
        const packedBytes = held.readUInt32LE(0);
        if (packedBytes === magic || packedBytes === 0) {
          chunks = [held.subarray(4)];
          heldBytes -= 4;
          wantedBytes = 4;
          continue;
        }
        if (packedBytes > maximumPackedBytes) throw new RangeError('no block of LZ4 is as large as this one');
        const end = 4 + packedBytes;
        wantedBytes = end;
        if (heldBytes < end) {
          chunks = [held];
          break;
        }
        onBlock(decompressLz4Block(held.subarray(4, end), blockBytes));
        chunks = [held.subarray(end)];
        heldBytes -= end;
        wantedBytes = 4;
      }
    },
    get whole() {
      return heldBytes === 0;
    },
  };
}

/** One block. Throws RangeError for bytes that are none, or more than `maximumBytes`. */
export function decompressLz4Block(packed: Buffer, maximumBytes: number): Buffer {
  const output = Buffer.allocUnsafe(maximumBytes);
  let from = 0;
  let to = 0;
  const length = (short: number): number => {
    let total = short;
    if (short !== 15) return total;
    for (let more = 255; more === 255; ) {
      more = packed.readUInt8(from);
      from += 1;
      total += more;
    }
    return total;
  };
  while (from < packed.length) {
    const token = packed.readUInt8(from);
    from += 1;
    const literals = length(token >>> 4);
    if (from + literals > packed.length || to + literals > maximumBytes)
      throw new RangeError('literals of LZ4 are cut');
    packed.copy(output, to, from, from + literals);
    from += literals;
    to += literals;
    if (from === packed.length) break;
    const distance = packed.readUInt16LE(from);
    from += 2;
    const bytes = length(token & 15) + 4;
    if (distance === 0 || distance > to || to + bytes > maximumBytes) throw new RangeError('a match of LZ4 is damaged');
    if (distance >= bytes) output.copyWithin(to, to - distance, to - distance + bytes);
    else for (let index = 0; index < bytes; index++) output[to + index] = output[to + index - distance] ?? 0;
    to += bytes;
  }
  return output.subarray(0, to);
}
