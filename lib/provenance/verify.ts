import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import type { Checksums } from '../api/image-result.ts';
import { keyId } from '../signing-keys.ts';
import { quoted } from '../text.ts';
import { type Envelope, isSignedBy, parseEnvelope, statementPayloadType } from './dsse.ts';
import { predicateType, statementType } from './statement.ts';

/** Largest envelope that is read, in bytes: one with 5,000 packages has some 3 MiB. */
export const maximumEnvelopeBytes = 16 * 1024 * 1024;

const Signed = z.object({
  _type: z.literal(statementType),
  predicateType: z.literal(predicateType),
  subject: z.array(z.object({ name: z.string().optional(), digest: z.record(z.string(), z.string()) })),
  predicate: z.object({
    buildDefinition: z.object({ buildType: z.string() }),
    runDetails: z.object({
      builder: z.object({ id: z.string() }),
      metadata: z.object({ invocationId: z.string().optional(), finishedOn: z.string().optional() }).optional(),
    }),
  }),
});
export type SignedStatement = z.infer<typeof Signed>;

/** The reason for which a provenance does not vouch for a file, in words for people. */
export type Refusal = { readonly refusal: string };

/**
 * The statement in an envelope that the owner of `key` has signed. Nothing of it is read before the signature is
 * verified.
 */
export function openProvenance(text: string, key: KeyObject): { readonly statement: SignedStatement } | Refusal {
  const envelope = parseEnvelope(text);
  if (envelope === null)
    return { refusal: 'it is not a DSSE envelope (JSON with payload, payloadType and signatures)' };
  if (!isSignedBy(envelope, key)) return { refusal: whyUnsigned(envelope, key) };
  if (envelope.payloadType !== statementPayloadType) {
    return { refusal: `it is signed, but holds ${quoted(envelope.payloadType)} and no in-toto statement` };
  }
  const statement = parseStatement(envelope.payload.toString());
  if (statement === null) return { refusal: 'it is signed, but holds no in-toto statement of SLSA provenance v1' };
  if (statement.subject.length === 0) return { refusal: 'it is signed, but names no file' };
  return { statement };
}

/** The file of these digests, as the statement names it. */
export function findSubject({ subject }: SignedStatement, checksums: Checksums): { readonly name: string } | Refusal {
  const known: Readonly<Record<string, string>> = { sha256: checksums.sha256, sha512: checksums.sha512 };
  const found = subject.find(({ digest }) => {
    const compared = Object.entries(digest).filter(([algorithm]) => Object.hasOwn(known, algorithm));
    return compared.length > 0 && compared.every(([algorithm, hex]) => known[algorithm] === hex.toLowerCase());
  });
  if (found !== undefined) return { name: found.name ?? '' };
  const names = subject
    .slice(0, 4)
    .map(({ name, digest }) => `${quoted(name ?? '')} (sha256 ${quoted(digest.sha256 ?? 'missing')})`);
  const more = subject.length > names.length ? ` and ${subject.length - names.length} more` : '';
  return {
    refusal: `the file has the SHA-256 ${checksums.sha256}; the provenance is about ${names.join(', ')}${more}`,
  };
}

function whyUnsigned({ signatures }: Envelope, key: KeyObject): string {
  if (signatures.length === 0) return 'it carries no signature';
  const own = keyId(key);
  const names = signatures.flatMap(({ keyid }) => keyid || []);
  if (names.includes(own))
    return 'it was changed after it was signed: the signature of this key does not fit its content';
  if (names.length === 0) return 'it carries no signature of this key that fits its content';
  return `it is signed by another key: ${quoted(names[0] ?? '')}, and not by this one, ${own}`;
}

/** The statement in the signed text; null where it is another document. */
function parseStatement(text: string): SignedStatement | null {
  try {
    return Signed.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
