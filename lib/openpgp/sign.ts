import { constants, createHash, type Hash, privateEncrypt } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { armorSignature } from './armor.ts';
import { renderNumber } from './packets.ts';
import type { OpenPgpKey } from './signing-key.ts';

/** Detached signatures of files: version 4, RSA with SHA-256 (RFC 9580 section 5.2.3), which gpg verifies since 1.4. */

/** DigestInfo of PKCS #1 for SHA-256 (RFC 8017 section 9.2), before the digest. */
const sha256Prefix = Buffer.from('3031300d060960864801650304020105000420', 'hex');
const [version, binaryDocument, rsa, sha256] = [4, 0, 1, 8];
const [creationTime, issuerFingerprint, issuer] = [2, 33, 16];

/** The armoured signature of a file. Throws the reason of the signal, and Node's own errors where it cannot be read. */
export async function signFile(path: string, key: OpenPgpKey, time: Date, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path, { highWaterMark: 2 ** 20, signal }) as AsyncIterable<Buffer>) {
    hash.update(bytes);
  }
  return finish(hash, key, time);
}

/** Signs what the hash has taken in so far. */
function finish(hash: Hash, { privateKey, fingerprint }: OpenPgpKey, time: Date): string {
  const seconds = Buffer.alloc(4);
  seconds.writeUInt32BE(Math.floor(time.getTime() / 1000));
  const hashed = Buffer.concat([
    subpacket(creationTime, seconds),
    subpacket(issuerFingerprint, Buffer.concat([Buffer.from([4]), fingerprint])),
  ]);
  const head = Buffer.concat([Buffer.from([version, binaryDocument, rsa, sha256]), lengthOf(hashed), hashed]);
  const end = Buffer.from([version, 0xff, 0, 0, 0, 0]);
  end.writeUInt32BE(head.length, 2);
  const digest = hash.update(head).update(end).digest();
  const padding = constants.RSA_PKCS1_PADDING;
  const number = privateEncrypt({ key: privateKey, padding }, Buffer.concat([sha256Prefix, digest]));
  // For programs that know no fingerprints there.
  const unhashed = subpacket(issuer, fingerprint.subarray(-8));
  const body = Buffer.concat([head, lengthOf(unhashed), unhashed, digest.subarray(0, 2), renderNumber(number)]);
  // The old form of a packet, as gpg writes it: its tag is 2, and its length has two bytes.
  return armorSignature(Buffer.concat([Buffer.from([0x89]), lengthOf(body), body]));
}

function subpacket(type: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([content.length + 1, type]), content]);
}

function lengthOf({ length }: Buffer): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(length);
  return bytes;
}
