import { open, stat } from 'node:fs/promises';
import { ImageBuilderError } from '#lib/errors.ts';
import { hashFile } from '#lib/image/digest.ts';
import { findSubject, maximumEnvelopeBytes, openProvenance, type SignedStatement } from '#lib/provenance/verify.ts';
import { keyId, readVerifyingKey } from '#lib/signing-keys.ts';
import { plain } from '#lib/text.ts';
import { unreadable } from './read-text.ts';

export interface VerifyOptions {
  /** Path of the public key. */
  readonly key: string;
  readonly json?: boolean;
}

/** Largest file of a key that is read, in bytes. */
const maximumKeyBytes = 64 * 1024;

/**
 * Says whether `provenance` vouches for the file `image`: first its signature, then the digests. Resolves with the exit
 * code: 0, or 1 where it does not. Throws `request.invalid` for files that cannot be read and for a key of no use.
 */
export async function verify(image: string, provenance: string, options: VerifyOptions): Promise<number> {
  const pem = await readUpTo(options.key, maximumKeyBytes);
  const { key, fault } = readVerifyingKey(pem ?? '');
  if (key === null) throw new ImageBuilderError('request.invalid', `--key ${plain(options.key)} ${fault}`);
  const text = await readUpTo(provenance, maximumEnvelopeBytes);
  const opened =
    text === null
      ? { refusal: `it is larger than ${maximumEnvelopeBytes} bytes, and so no provenance` }
      : openProvenance(text, key);
  if ('refusal' in opened) return refuse(`${provenance} does not count: ${opened.refusal}`, options);
  const { sizeBytes, checksums } = await hashRegular(image);
  const found = findSubject(opened.statement, checksums);
  if ('refusal' in found) return refuse(`${provenance} does not vouch for ${image}: ${found.refusal}`, options);
  const facts = { name: found.name, size: sizeBytes, checksums, key: keyId(key), ...factsOf(opened.statement) };
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ verified: true, ...facts })}\n`);
    return 0;
  }
  const lines = [
    `${plain(image)} is ${plain(found.name)}, as the provenance vouches`,
    `  build    ${plain(facts.build_id ?? 'not named')}`,
    `  builder  ${plain(facts.builder)}`,
    `  finished ${plain(facts.finished ?? 'not named')}`,
    `  sha256   ${checksums.sha256}`,
    `  key      ${facts.key}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return 0;
}

function factsOf({ predicate: { runDetails } }: SignedStatement) {
  const { builder, metadata } = runDetails;
  return { build_id: metadata?.invocationId ?? null, builder: builder.id, finished: metadata?.finishedOn ?? null };
}

function refuse(reason: string, { json }: VerifyOptions): number {
  if (json) process.stdout.write(`${JSON.stringify({ verified: false, reason: plain(reason) })}\n`);
  else process.stderr.write(`imagebuilder: ${plain(reason)}\n`);
  return 1;
}

/** The text of a file; null where it has more bytes than `maximumBytes`. Reads no further, whatever the file is. */
async function readUpTo(path: string, maximumBytes: number): Promise<string | null> {
  return await orExplain(path, async () => {
    await using file = await open(path);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of file.createReadStream({ autoClose: false, end: maximumBytes })) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
    }
    return size > maximumBytes ? null : Buffer.concat(chunks).toString();
  });
}

async function hashRegular(path: string) {
  return await orExplain(path, async () => {
    const stats = await stat(path);
    if (stats.isDirectory()) throw invalid(path, 'it is a folder');
    if (!stats.isFile()) throw invalid(path, 'it is no regular file');
    return await hashFile(path);
  });
}

async function orExplain<Value>(path: string, work: () => Promise<Value>): Promise<Value> {
  return await work().catch((error: NodeJS.ErrnoException) => {
    if (error instanceof ImageBuilderError) throw error;
    throw invalid(path, unreadable[error.code ?? ''] ?? error.message, error);
  });
}

function invalid(path: string, reason: string, cause?: unknown): ImageBuilderError {
  return new ImageBuilderError('request.invalid', `${plain(path)} cannot be read: ${reason}`, { cause });
}
