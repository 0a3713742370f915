import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { keyId } from '../signing-keys.ts';

/**
 * Envelopes that carry signed statements: DSSE, https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md).
 */

export const envelopeMediaType = 'application/vnd.dsse.envelope.v1+json';
export const statementPayloadType = 'application/vnd.in-toto+json';

/** Base64 with the alphabet of RFC 4648, section 4 or section 5: readers of envelopes must take both. */
const Base64 = z
  .string()
  .regex(/^[A-Za-z0-9+/_-]*={0,2}$/)
  .transform((text) => Buffer.from(text, 'base64'));

const maximumSignatures = 32;

const Envelope = z.object({
  payload: Base64,
  payloadType: z.string(),
  signatures: z.array(z.object({ keyid: z.string().optional(), sig: Base64 })).max(maximumSignatures),
});
export type Envelope = z.infer<typeof Envelope>;

/** The envelope in a text; null where it is none. */
export function parseEnvelope(text: string): Envelope | null {
  try {
    return Envelope.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The bytes that are signed (PAE): type and content, each after its length in bytes. */
export function preAuthenticationEncoding(payloadType: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

/** A statement in an envelope, as JSON. ECDSA signatures are over SHA-256 and in DER, as cosign reads them. */
export function signStatement(statement: unknown, key: KeyObject): string {
  const payload = Buffer.from(JSON.stringify(statement));
  const signature = sign(digestFor(key), preAuthenticationEncoding(statementPayloadType, payload), key);
  const envelope = {
    payload: payload.toString('base64'),
    payloadType: statementPayloadType,
    signatures: [{ keyid: keyId(key), sig: signature.toString('base64') }],
  };
  return `${JSON.stringify(envelope)}\n`;
}

/** Whether one of the signatures is the key's. `keyid` is a hint that nobody signs: each signature is tried. */
export function isSignedBy({ payload, payloadType, signatures }: Envelope, key: KeyObject): boolean {
  const signed = preAuthenticationEncoding(payloadType, payload);
  return signatures.some(({ sig }) => verify(digestFor(key), signed, key, sig));
}

/** Ed25519 has its own. */
function digestFor(key: KeyObject): 'sha256' | null {
  return key.asymmetricKeyType === 'ec' ? 'sha256' : null;
}
