import { metadataBytes } from '../superblock.ts';

/** Bytes of a table that grows. It is written as blocks of metadata that are not compressed. */
export interface TableWriter {
  readonly size: number;
  uint16(value: number): void;
  int16(value: number): void;
  uint32(value: number): void;
  /** At most 2^53 - 1. */
  uint64(value: number): void;
  bytes(value: Uint8Array): void;
  /** Text of which each character is one byte. */
  text(value: string): void;
  /** All bytes so far; valid until the next one. */
  content(): Buffer;
}

const firstBytes = 64 * 1024;
/** A block that is not compressed, with its header. */
const writtenBytes = metadataBytes + 2;
const storedFlag = 0x8000;

export function createTableWriter(): TableWriter {
  let buffer = Buffer.allocUnsafe(firstBytes);
  let size = 0;
  /** The place of the next `length` bytes. */
  const reserve = (length: number): number => {
    const needed = size + length;
    if (needed > buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * buffer.length));
      buffer.copy(grown, 0, 0, size);
      buffer = grown;
    }
    size = needed;
    return needed - length;
  };
  const uint32 = (value: number) => {
    const at = reserve(4);
    buffer.writeUInt32LE(value, at);
  };
  return {
    get size() {
      return size;
    },
    uint16(value) {
      const at = reserve(2);
      buffer.writeUInt16LE(value, at);
    },
    int16(value) {
      const at = reserve(2);
      buffer.writeInt16LE(value, at);
    },
    uint32,
    uint64(value) {
      uint32(value % 2 ** 32);
      uint32(Math.floor(value / 2 ** 32));
    },
    bytes(value) {
      const at = reserve(value.length);
      buffer.set(value, at);
    },
    text(value) {
      const at = reserve(value.length);
      buffer.write(value, at, 'latin1');
    },
    content: () => buffer.subarray(0, size),
  };
}

/** Place of the block, from the start of the written table, that holds a byte of the unpacked one. */
export function blockOf(position: number): number {
  return Math.floor(position / metadataBytes) * writtenBytes;
}

/** Place of that byte in its block. */
export function offsetOf(position: number): number {
  return position % metadataBytes;
}

/** A reference as tables hold it in 64 bits. */
export function referenceOf(position: number): number {
  return blockOf(position) * 2 ** 16 + offsetOf(position);
}

/** The blocks of a table as they are written. */
export function storedBlocks(content: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < content.length; at += metadataBytes) {
    const block = content.subarray(at, at + metadataBytes);
    const header = Buffer.allocUnsafe(2);
    header.writeUInt16LE(storedFlag | block.length);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}
