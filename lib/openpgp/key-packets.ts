import { createHash } from 'node:crypto';
import { newLength, type Packet, readNumbers } from './packets.ts';

/** Keys of version 4 and the signatures that say what they are for (RFC 9580 sections 5.2 and 5.5). */

/** Numbers of RSA: the modulus, both exponents, the factors, and the inverse of the first of these by the second. */
export interface RsaNumbers {
  readonly n: Buffer;
  readonly e: Buffer;
  readonly d: Buffer;
  readonly p: Buffer;
  readonly q: Buffer;
  readonly u: Buffer;
}

/** A secret key, or a subkey. */
export interface KeyPacket {
  readonly version: number;
  /** As section 9.1 counts. */
  readonly algorithm: number;
  readonly createdSeconds: number;
  /** 20 bytes; empty for other algorithms than RSA. */
  readonly fingerprint: Buffer;
  /** The reason why it is not there, where it is not. */
  readonly secret: RsaNumbers | 'passphrase' | 'elsewhere' | 'other';
}

/** RSA for everything, and for signatures alone. */
const rsaAlgorithms: readonly number[] = [1, 3];
/** GnuPG's own form of a secret that lies elsewhere (its doc/DETAILS): offline, or on a card. */
const gnuElsewhere = 101;

/** Throws RangeError where the packet ends too early. */
export function readKeyPacket(body: Buffer): KeyPacket {
  const version = body.readUInt8(0);
  const [createdSeconds, algorithm] = version === 4 ? [body.readUInt32BE(1), body.readUInt8(5)] : [0, 0];
  const known = { version, algorithm, createdSeconds };
  if (!rsaAlgorithms.includes(algorithm)) return { ...known, fingerprint: Buffer.alloc(0), secret: 'other' };
  const { numbers, end } = readNumbers(body, 6, 2);
  const [n, e] = numbers as [Buffer, Buffer];
  const head = Buffer.from([0x99, 0, 0]);
  head.writeUInt16BE(end, 1);
  const fingerprint = createHash('sha1').update(head).update(body.subarray(0, end)).digest();
  const usage = body.readUInt8(end);
  if (usage !== 0) {
    const isElsewhere = usage >= 254 && body.readUInt8(end + 2) === gnuElsewhere;
    return { ...known, fingerprint, secret: isElsewhere ? 'elsewhere' : 'passphrase' };
  }
  const [d, p, q, u] = readNumbers(body, end + 1, 4).numbers as [Buffer, Buffer, Buffer, Buffer];
  return { ...known, fingerprint, secret: { n, e, d, p, q, u } };
}

/** The words of a key's owner about it. */
export interface SelfSignature {
  /** As section 5.2.1 counts. */
  readonly type: number;
  readonly createdSeconds: number;
  /** Seconds from the creation of the key; null where it never expires. */
  readonly lifetimeSeconds: number | null;
  /** Null where it does not say. */
  readonly maySign: boolean | null;
  /** The end of the fingerprint of the key that has signed; empty where it does not say. */
  readonly issuer: Buffer;
}

/** Null for a signature of another version. Throws RangeError where the packet ends too early. */
export function readSelfSignature({ body }: Packet): SelfSignature | null {
  if (body.readUInt8(0) !== 4) return null;
  const hashedBytes = body.readUInt16BE(4);
  const hashed = readSubpackets(body.subarray(6, 6 + hashedBytes));
  const rest = body.subarray(6 + hashedBytes);
  const others = readSubpackets(rest.subarray(2, 2 + rest.readUInt16BE(0)));
  const lifetime = hashed.get(9)?.readUInt32BE(0) ?? 0;
  return {
    type: body.readUInt8(1),
    createdSeconds: hashed.get(2)?.readUInt32BE(0) ?? 0,
    lifetimeSeconds: lifetime === 0 ? null : lifetime,
    maySign: hashed.has(27) ? ((hashed.get(27)?.[0] ?? 0) & 2) !== 0 : null,
    issuer: hashed.get(33)?.subarray(1) ?? hashed.get(16) ?? others.get(16) ?? Buffer.alloc(0),
  };
}

/** By their types, section 5.2.3.7. */
function readSubpackets(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    const { length, size } = newLength(bytes, at, false);
    const start = at + size;
    if (length === 0 || start + length > bytes.length) throw new RangeError('a subpacket ends too early');
    found.set(bytes.readUInt8(start) & 0x7f, bytes.subarray(start + 1, start + length));
    at = start + length;
  }
  return found;
}
