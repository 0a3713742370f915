/** Packets of OpenPGP (RFC 9580 section 4), and the numbers in them. */

export interface Packet {
  readonly tag: number;
  readonly body: Buffer;
}

/** Throws RangeError where the bytes are no packets of known length. */
export function readPackets(bytes: Buffer): Packet[] {
  const packets: Packet[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes.readUInt8(at);
    if ((first & 0x80) === 0) throw new RangeError('no packet begins here');
    const isNew = (first & 0x40) !== 0;
    const tag = isNew ? first & 0x3f : (first >> 2) & 0x0f;
    const { length, size } = isNew ? newLength(bytes, at + 1) : oldLength(bytes, at + 1, first & 3);
    const start = at + 1 + size;
    if (start + length > bytes.length) throw new RangeError('a packet ends too early');
    packets.push({ tag, body: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return packets;
}

interface Length {
  readonly length: number;
  /** Bytes of the length itself. */
  readonly size: number;
}

/** The length of a packet, and of a subpacket of a signature. Throws RangeError for a partial one. */
export function newLength(bytes: Buffer, at: number, mayBePartial = true): Length {
  const first = bytes.readUInt8(at);
  if (first < 192) return { length: first, size: 1 };
  if (first === 255) return { length: bytes.readUInt32BE(at + 1), size: 5 };
  // Subpackets have two bytes for more lengths in place of partial ones.
  if (first >= 224 && mayBePartial) throw new RangeError('the length is partial');
  return { length: ((first - 192) << 8) + bytes.readUInt8(at + 1) + 192, size: 2 };
}

function oldLength(bytes: Buffer, at: number, type: number): Length {
  if (type === 0) return { length: bytes.readUInt8(at), size: 1 };
  if (type === 1) return { length: bytes.readUInt16BE(at), size: 2 };
  if (type === 2) return { length: bytes.readUInt32BE(at), size: 4 };
  throw new RangeError('the length is unknown');
}

/** Numbers one after another, each with its length in bits before it (section 3.2). Throws RangeError. */
export function readNumbers(
  bytes: Buffer,
  at: number,
  count: number,
): { readonly numbers: Buffer[]; readonly end: number } {
  const numbers: Buffer[] = [];
  let end = at;
  for (let index = 0; index < count; index += 1) {
    const start = end + 2;
    end = start + Math.ceil(bytes.readUInt16BE(start - 2) / 8);
    if (end > bytes.length) throw new RangeError('a number ends too early');
    numbers.push(bytes.subarray(start, end));
  }
  return { numbers, end };
}

/** A number with its length in bits. */
export function renderNumber(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const number = first < 0 ? Buffer.alloc(0) : bytes.subarray(first);
  const length = Buffer.alloc(2);
  const [top = 0] = number;
  length.writeUInt16BE(number.length === 0 ? 0 : 8 * number.length - Math.clz32(top) + 24);
  return Buffer.concat([length, number]);
}
