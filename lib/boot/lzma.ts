/**
 * Decompresses raw LZMA data, as in GRUB's core image for BIOS (Igor Pavlov's LZMA specification): the first
 * `sizeBytes` of output from data whose properties the caller knows. Returns null for data that is none. Work is bounded
 * by the output.
 */
export function decompressLzma(packed: Buffer, sizeBytes: number, properties: LzmaProperties): Buffer | null {
  try {
    return decode(packed, sizeBytes, properties);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

export interface LzmaProperties {
  readonly literalContextBits: number;
  readonly literalPositionBits: number;
  readonly positionBits: number;
}

const half = 1024;
const topValue = 2 ** 24;

/** The range decoder: bits with probabilities of 11 bits that adapt. */
function createRangeDecoder(packed: Buffer) {
  if (packed.length < 5 || packed[0] !== 0) throw new RangeError('no LZMA data');
  let range = 0xffffffff;
  let code = packed.readUInt32BE(1);
  let place = 5;
  const normalize = () => {
    if (range >= topValue) return;
    if (place >= packed.length) throw new RangeError('LZMA data ends too early');
    range = (range << 8) >>> 0;
    code = ((code << 8) | (packed[place] ?? 0)) >>> 0;
    place += 1;
  };
  const bit = (probabilities: Uint16Array, index: number): number => {
    const probability = probabilities[index] ?? half;
    const bound = (range >>> 11) * probability;
    let value = 0;
    if (code < bound) {
      range = bound;
      probabilities[index] = probability + ((2048 - probability) >>> 5);
    } else {
      range -= bound;
      code -= bound;
      probabilities[index] = probability - (probability >>> 5);
      value = 1;
    }
    normalize();
    return value;
  };
  return {
    bit,
    direct(count: number): number {
      let value = 0;
      for (let index = 0; index < count; index++) {
        range >>>= 1;
        const isOne = code >= range ? 1 : 0;
        if (isOne === 1) code -= range;
        normalize();
        value = value * 2 + isOne;
      }
      return value;
    },
    tree(probabilities: Uint16Array, start: number, bits: number): number {
      let node = 1;
      for (let index = 0; index < bits; index++) node = node * 2 + bit(probabilities, start + node);
      return node - 2 ** bits;
    },
    reverseTree(probabilities: Uint16Array, start: number, bits: number): number {
      let node = 1;
      let value = 0;
      for (let index = 0; index < bits; index++) {
        const one = bit(probabilities, start + node);
        node = node * 2 + one;
        value |= one << index;
      }
      return value;
    },
  };
}

const fresh = (count: number) => new Uint16Array(count).fill(half);
type RangeDecoder = ReturnType<typeof createRangeDecoder>;

/** Lengths of matches, 2 to 273. */
function createLengths() {
  const choice = fresh(2);
  const low = fresh(16 * 8);
  const middle = fresh(16 * 8);
  const high = fresh(256);
  return (decoder: RangeDecoder, position: number): number => {
    if (decoder.bit(choice, 0) === 0) return 2 + decoder.tree(low, position * 8, 3);
    if (decoder.bit(choice, 1) === 0) return 10 + decoder.tree(middle, position * 8, 3);
    return 18 + decoder.tree(high, 0, 8);
  };
}

function decode(packed: Buffer, sizeBytes: number, properties: LzmaProperties): Buffer {
  const { literalContextBits, literalPositionBits, positionBits } = properties;
  const decoder = createRangeDecoder(packed);
  const output = Buffer.alloc(sizeBytes);
  const literal = fresh(0x300 << (literalContextBits + literalPositionBits));
  const [isMatch, isLongRepeat] = [fresh(12 * 16), fresh(12 * 16)];
  const [isRepeat, isRepeat0, isRepeat1, isRepeat2] = [fresh(12), fresh(12), fresh(12), fresh(12)];
  const slots = fresh(4 * 64);
  const special = fresh(128);
  const align = fresh(16);
  const [matchLength, repeatLength] = [createLengths(), createLengths()];
  let distances: [number, number, number, number] = [0, 0, 0, 0];
  let state = 0;
  let to = 0;

  const readDistance = (length: number): number => {
    const slot = decoder.tree(slots, Math.min(length - 2, 3) * 64, 6);
    if (slot < 4) return slot;
    const direct = (slot >>> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** direct;
    if (slot < 14) return base + decoder.reverseTree(special, base - slot, direct);
    return base + decoder.direct(direct - 4) * 16 + decoder.reverseTree(align, 0, 4);
  };
  const readLiteral = () => {
    const before = to === 0 ? 0 : (output[to - 1] ?? 0);
    const lower = (to & (2 ** literalPositionBits - 1)) << literalContextBits;
    const start = 0x300 * (lower + (before >>> (8 - literalContextBits)));
    let symbol = 1;
    if (state >= 7) {
      let match = output[to - distances[0] - 1] ?? 0;
      while (symbol < 0x100) {
        const expected = (match >>> 7) & 1;
        match <<= 1;
        const got = decoder.bit(literal, start + ((1 + expected) << 8) + symbol);
        symbol = (symbol << 1) | got;
        if (got !== expected) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | decoder.bit(literal, start + symbol);
    output[to] = symbol & 0xff;
    to += 1;
    state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
  };
  const copy = (length: number) => {
    const distance = distances[0] + 1;
    if (distance > to) throw new RangeError('a match of LZMA is damaged');
    for (const end = Math.min(to + length, sizeBytes); to < end; to++) output[to] = output[to - distance] ?? 0;
  };

  while (to < sizeBytes) {
    const position = to & (2 ** positionBits - 1);
    if (decoder.bit(isMatch, state * 16 + position) === 0) {
      readLiteral();
      continue;
    }
    if (decoder.bit(isRepeat, state) === 0) {
      const length = matchLength(decoder, position);
      distances = [readDistance(length), distances[0], distances[1], distances[2]];
      state = state < 7 ? 7 : 10;
      copy(length);
      continue;
    }
    if (decoder.bit(isRepeat0, state) === 0) {
      if (decoder.bit(isLongRepeat, state * 16 + position) === 0) {
        state = state < 7 ? 9 : 11;
        copy(1);
        continue;
      }
    } else if (decoder.bit(isRepeat1, state) === 0) {
      distances = [distances[1], distances[0], distances[2], distances[3]];
    } else if (decoder.bit(isRepeat2, state) === 0) {
      distances = [distances[2], distances[0], distances[1], distances[3]];
    } else {
      distances = [distances[3], distances[0], distances[1], distances[2]];
    }
    const length = repeatLength(decoder, position);
    state = state < 7 ? 8 : 11;
    copy(length);
  }
  return output;
}
