import { setImmediate } from 'node:timers/promises';
import { inflateSync, zstdDecompressSync } from 'node:zlib';
import { decompressLz4Block } from '../lz4.ts';
import type { Compressor } from './compressor.ts';
import { corrupt } from './refusals.ts';
import { type ToolLimits, unpackXz } from './xz.ts';

/** A block as it lies in the file: compressed, or stored as it is. */
export interface PackedBlock {
  readonly bytes: Buffer;
  readonly stored: boolean;
}

/** Blocks that are unpacked before other work of this process gets its turn. */
const blocksAtOnce = 64;

const methods: Readonly<Record<Exclude<Compressor, 'xz'>, (bytes: Buffer, maximumBytes: number) => Buffer>> = {
  gzip: (bytes, maximumBytes) => inflateSync(bytes, limitsOf(maximumBytes)),
  zstd: (bytes, maximumBytes) => zstdDecompressSync(bytes, limitsOf(maximumBytes)),
  lz4: decompressLz4Block,
};

/** Chunks as large as the result: most results are exactly as large. */
function limitsOf(maximumBytes: number) {
  return { maxOutputLength: maximumBytes, chunkSize: maximumBytes };
}

/**
 * The content of blocks that have at most `maximumBytes` each. Throws `image.corrupt` for others, or the reason of the
 * signal.
 */
export async function unpackBlocks(
  blocks: readonly PackedBlock[],
  compressor: Compressor,
  maximumBytes: number,
  limits: ToolLimits,
): Promise<Buffer[]> {
  if (compressor === 'xz') return await unpackByXz(blocks, maximumBytes, limits);
  const unpacked: Buffer[] = [];
  for (const { bytes, stored } of blocks) {
    if (unpacked.length % blocksAtOnce === blocksAtOnce - 1) await setImmediate();
    limits.signal.throwIfAborted();
    unpacked.push(stored ? bytes : unpackOne(bytes, compressor, maximumBytes));
  }
  return unpacked;
}

function unpackOne(bytes: Buffer, compressor: Exclude<Compressor, 'xz'>, maximumBytes: number): Buffer {
  try {
    const content = methods[compressor](bytes, maximumBytes);
    // The memory behind a short one is as large as that of others.
    return content.length * 2 < maximumBytes ? Buffer.from(content) : content;
  } catch (cause) {
    throw corrupt(`a block cannot be unpacked by ${compressor}`, { cause });
  }
}

async function unpackByXz(blocks: readonly PackedBlock[], maximumBytes: number, limits: ToolLimits): Promise<Buffer[]> {
  const packed = blocks.filter(({ stored }) => !stored).map(({ bytes }) => bytes);
  if (packed.length === 0) return blocks.map(({ bytes }) => bytes);
  const unpacked = await unpackXz(packed, maximumBytes, limits);
  let next = 0;
  return blocks.map(({ bytes, stored }) => (stored ? bytes : (unpacked[next++] ?? Buffer.alloc(0))));
}
