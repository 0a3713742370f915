import { createPrivateKey, type KeyObject, sign, verify } from 'node:crypto';
import { removeArmor } from './armor.ts';
import {
  type KeyPacket,
  type RsaNumbers,
  readKeyPacket,
  readSelfSignature,
  type SelfSignature,
} from './key-packets.ts';
import { readPackets } from './packets.ts';

/** Keys that sign images: RSA, as the first recoveries of phones verify it, in the form that `gpg --export-secret-keys` gives. */

/** A key that signs. It stays in the memory of this process. */
export interface OpenPgpKey {
  readonly privateKey: KeyObject;
  /** 20 bytes. */
  readonly fingerprint: Buffer;
  readonly expiresAt: Date | null;
}

/** The line that makes such a key: each message about a wrong one names it. */
export const makeImageKeyAdvice =
  "make one with: gpg --batch --passphrase '' --quick-generate-key 'Image signing' rsa4096 sign never";

type Read = { readonly key: OpenPgpKey; readonly fault: null } | { readonly key: null; readonly fault: string };

/** More than any key has, with the signatures of many friends. */
const maximumCharacters = 2 ** 20;
const leastBits = 2048;

/**
 * The key in an armoured text that signs: the newest subkey for signatures, or else the primary key. Or the reason why there is
 * none, which quotes nothing of the text.
 */
export function readOpenPgpKey(text: string, now: Date): Read {
  if (text.length > maximumCharacters) return refused(`has more than ${maximumCharacters} characters`);
  if (!/-----BEGIN PGP PRIVATE KEY BLOCK-----/.test(text)) {
    if (/-----BEGIN PGP PUBLIC KEY BLOCK-----/.test(text)) {
      return refused('holds a public key; give the private one: gpg --armor --export-secret-keys');
    }
    return refused(`holds no OpenPGP private key in ASCII armour; ${makeImageKeyAdvice}`);
  }
  try {
    return chooseKey(readKeys(removeArmor(text, 'PRIVATE')), now);
  } catch (error) {
    if (error instanceof RangeError) return refused(`has a key that cannot be parsed; ${makeImageKeyAdvice}`);
    throw error;
  }
}

interface FoundKey {
  readonly packet: KeyPacket;
  readonly isPrimary: boolean;
  readonly words: SelfSignature[];
}

const [secretKey, secretSubkey, signature] = [5, 7, 2];
const [keyRevocation, subkeyRevocation] = [0x20, 0x28];

/** The keys in their order, each with the signatures behind it. */
function readKeys(bytes: Buffer): FoundKey[] {
  const keys: FoundKey[] = [];
  for (const packet of readPackets(bytes)) {
    if (packet.tag === secretKey || packet.tag === secretSubkey) {
      keys.push({ packet: readKeyPacket(packet.body), isPrimary: packet.tag === secretKey, words: [] });
    } else if (packet.tag === signature) {
      const word = readSelfSignature(packet);
      if (word !== null) keys.at(-1)?.words.push(word);
    }
  }
  return keys;
}

/** A key as the newest of its owner's words describes it. */
interface Candidate extends Pick<FoundKey, 'packet'> {
  readonly expiresAt: Date | null;
  /** The reason why it cannot sign; null where it can. */
  readonly fault: string | null;
}

function chooseKey(keys: readonly FoundKey[], now: Date): Read {
  const [primary, ...subkeys] = keys;
  if (primary === undefined || !primary.isPrimary) return refused(`has no primary key; ${makeImageKeyAdvice}`);
  if (subkeys.some(({ isPrimary }) => isPrimary)) return refused('holds several keys: export the one that is to sign');
  const { fingerprint } = primary.packet;
  const own = keys.map((key) => ({
    ...key,
    words: key.words.filter(({ issuer }) => isFrom(fingerprint, issuer)),
  }));
  const [first, ...others] = own.map((key) => judge(key, now)) as [Candidate, ...Candidate[]];
  // A primary key that is over takes its subkeys along.
  const isOver = first.fault !== null && (isRevoked(own[0]) || isExpired(first, now));
  const signing = others
    .filter((_, index) => isForSignatures(own[index + 1]))
    .toSorted((one, other) => other.packet.createdSeconds - one.packet.createdSeconds);
  const candidates = isOver ? [first] : [...signing, ...(isForSignatures(own[0]) ? [first] : [])];
  const usable = candidates.find(({ fault }) => fault === null);
  const { secret } = usable?.packet ?? {};
  if (usable === undefined || typeof secret !== 'object') {
    const [best] = candidates;
    return refused(best?.fault ?? `has no key for signatures; ${makeImageKeyAdvice}`);
  }
  const privateKey = toKeyObject(secret);
  if (privateKey === null) return refused(`has a key whose numbers do not fit; ${makeImageKeyAdvice}`);
  const dates = [first.expiresAt, usable.expiresAt].filter((date) => date !== null);
  const expiresAt = dates.toSorted((one, other) => one.getTime() - other.getTime())[0] ?? null;
  return { key: { privateKey, fingerprint: usable.packet.fingerprint, expiresAt }, fault: null };
}

/** Others may have signed the key, too. */
function isFrom(fingerprint: Buffer, issuer: Buffer): boolean {
  if (fingerprint.length === 0 || issuer.length === 0) return true;
  return fingerprint.subarray(-issuer.length).equals(issuer);
}

function judge(key: FoundKey, now: Date): Candidate {
  const { packet } = key;
  const newest = newestWord(key);
  const lifetime = newest?.lifetimeSeconds ?? null;
  const expiresAt = lifetime === null ? null : new Date((packet.createdSeconds + lifetime) * 1000);
  return { packet, expiresAt, fault: faultOf(key, expiresAt, now) };
}

function faultOf(key: FoundKey, expiresAt: Date | null, now: Date): string | null {
  const { version, algorithm, secret } = key.packet;
  if (version !== 4) return `has a key of version ${version}, and must have one of version 4; ${makeImageKeyAdvice}`;
  if (secret === 'other') {
    return `has a key of the algorithm ${algorithm}, and must have one for RSA, which every recovery verifies; ${makeImageKeyAdvice}`;
  }
  if (isRevoked(key)) return `has a key that was revoked; ${makeImageKeyAdvice}`;
  if (expiresAt !== null && expiresAt <= now) {
    const day = expiresAt.toISOString().slice(0, 10);
    return `has a key that expired on ${day}; lengthen its life (gpg --quick-set-expire), and export it again`;
  }
  if (secret === 'passphrase') {
    return 'has a passphrase, which nobody could enter; remove it (gpg --change-passphrase), and export the key again';
  }
  if (secret === 'elsewhere')
    return 'has only the public part of the key that signs: the private one is elsewhere, or on a card';
  const bits = 8 * secret.n.length - Math.clz32(secret.n[0] ?? 0) + 24;
  return bits < leastBits ? `has a key of ${bits} bits, and must have one of ${leastBits} or more` : null;
}

/** The newest word that says what a key is for. */
function newestWord({ words }: FoundKey): SelfSignature | undefined {
  return words
    .filter(({ type }) => type !== keyRevocation && type !== subkeyRevocation)
    .toSorted((one, other) => other.createdSeconds - one.createdSeconds)[0];
}

function isForSignatures(key: FoundKey | undefined): boolean {
  return key !== undefined && (newestWord(key)?.maySign ?? key.isPrimary);
}

function isRevoked(key: FoundKey | undefined): boolean {
  return key?.words.some(({ type }) => type === keyRevocation || type === subkeyRevocation) === true;
}

function isExpired({ expiresAt }: Candidate, now: Date): boolean {
  return expiresAt !== null && expiresAt <= now;
}

/** Null where the numbers are not those of one key. */
function toKeyObject({ n, e, d, p, q, u }: RsaNumbers): KeyObject | null {
  const text = (bytes: Buffer) => bytes.toString('base64url');
  const [secret, first, second] = [d, q, p].map((bytes) => BigInt(`0x0${bytes.toString('hex')}`)) as [
    bigint,
    bigint,
    bigint,
  ];
  if (first < 2n || second < 2n) return null;
  // JWK wants the inverse of the second factor by the first, OpenPGP that of the first by the second.
  const jwk = {
    ...{ kty: 'RSA', n: text(n), e: text(e), d: text(d), p: text(q), q: text(p), qi: text(u) },
    dp: text(toBytes(secret % (first - 1n))),
    dq: text(toBytes(secret % (second - 1n))),
  };
  try {
    const key = createPrivateKey({ key: jwk, format: 'jwk' });
    const trial = Buffer.from('trial');
    return verify('sha256', trial, key, sign('sha256', trial, key)) ? key : null;
  } catch {
    return null;
  }
}

function toBytes(number: bigint): Buffer {
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
}

function refused(fault: string) {
  return { key: null, fault } as const;
}
