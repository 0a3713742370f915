import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

/** Keys that sign provenance, and those that verify it: Ed25519, or ECDSA over P-256. In PEM. */

/** The line that makes such a key: each message about a wrong one names it. */
export const makeKeyAdvice = 'make one with: openssl genpkey -algorithm ed25519';

type Read<Value> = { readonly key: Value; readonly fault: null } | { readonly key: null; readonly fault: string };

/** The private key in a text (PKCS#8, or SEC 1 for ECDSA), or its fault. Quotes nothing of the text. */
export function readSigningKey(pem: string): Read<KeyObject> {
  if (/-----BEGIN ENCRYPTED [A-Z ]{0,20}PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/.test(pem)) {
    return refused('has a passphrase, which nobody could enter; store the key without one (openssl pkey)');
  }
  const begin = pem.search(/-----BEGIN (EC )?PRIVATE KEY-----/);
  if (begin === -1) return refused(`holds no private key in PEM; ${makeKeyAdvice}`);
  return readKey(() => createPrivateKey(pem.slice(begin)));
}

/** The public key in a text (SubjectPublicKeyInfo), or its fault. */
export function readVerifyingKey(pem: string): Read<KeyObject> {
  if (/-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----/.test(pem)) {
    return refused('holds a private key; give the public one, which openssl pkey -pubout makes of it');
  }
  const begin = pem.search(/-----BEGIN PUBLIC KEY-----/);
  if (begin === -1) return refused('holds no public key in PEM (-----BEGIN PUBLIC KEY-----)');
  return readKey(() => createPublicKey(pem.slice(begin)));
}

/** The name of a key in signatures: the SHA-256, in hexadecimal, of its public part as DER (SubjectPublicKeyInfo). */
export function keyId(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

function readKey(read: () => KeyObject): Read<KeyObject> {
  try {
    const key = read();
    const kind = kindOf(key);
    if (kind === 'ed25519' || kind === 'ec prime256v1') return { key, fault: null };
    return refused(
      `has a key of the kind ${kind}, and must have one for Ed25519 or ECDSA over P-256; ${makeKeyAdvice}`,
    );
  } catch {
    return refused(`has a key that cannot be parsed; ${makeKeyAdvice}`);
  }
}

/** `ed25519`, `rsa`, or `ec` with its curve. */
function kindOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  const curve = asymmetricKeyDetails?.namedCurve;
  return `${asymmetricKeyType}${curve === undefined ? '' : ` ${curve}`}`;
}

function refused(fault: string) {
  return { key: null, fault } as const;
}
