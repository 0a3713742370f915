import { createHash, type Hash } from 'node:crypto';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import type { Digest, DigestAlgorithm } from '../checksums.ts';
import { isNodeError } from '../errors.ts';
import type { HttpHead } from '../http/response.ts';
import { writeAll } from '../write-all.ts';

/**
 * A file that is being downloaded, with its running digest. A description beside it (`<path>.json`) names the whole
 * file, so that another process can go on with it. Disposing it keeps a part that can be resumed and removes one that
 * cannot.
 */
export interface Part extends AsyncDisposable {
  /** Bytes so far. */
  readonly bytes: number;
  /** Strong validator for If-Range; null when the part cannot be resumed. */
  readonly validator: string | null;
  /** Length of the whole file where the server sent it. */
  readonly totalBytes: number | null;
  append(chunk: Buffer): Promise<void>;
  /** Throws away the bytes so far. */
  restart(): Promise<void>;
  /** Notes the answer's validators of the file. */
  describe(head: HttpHead): Promise<void>;
  /** Whether an answer is about the same file, by its validators, and came as securely. */
  isOf(head: HttpHead): boolean;
  /** The digests of the bytes so far by the wanted algorithms. */
  digests(): Digest[];
  /** The file is whole: flushes it and removes its description. */
  finish(): Promise<void>;
}

/** The description as it lies on the disk: without the URL, since a query may be a signature. */
const Description = z.object({
  urlSha256: z.string(),
  secure: z.boolean(),
  validator: z.string(),
  totalBytes: z.int().nullable(),
});
type Description = z.infer<typeof Description>;

/** Opens the part at `path`. Throws away bytes that came from another URL or cannot be resumed. */
export async function openPart(path: string, url: string, algorithms: readonly DigestAlgorithm[]): Promise<Part> {
  const descriptionPath = `${path}.json`;
  let description = await readDescription(descriptionPath, url);
  const file = await open(path, description === null ? 'w+' : 'r+').catch((error: unknown) => {
    if (!isNodeError(error) || error.code !== 'ENOENT') throw error;
    description = null;
    return open(path, 'w+');
  });
  let hashes = createHashes(algorithms);
  let bytes = 0;
  let finished = false;
  // The leftover of a dead process is hashed again, so that the digest is that of the bytes on the disk.
  for await (const chunk of file.createReadStream({ start: 0, autoClose: false }) as AsyncIterable<Buffer>) {
    update(hashes, chunk);
    bytes += chunk.length;
  }
  return {
    get bytes() {
      return bytes;
    },
    get validator() {
      return description?.validator ?? null;
    },
    get totalBytes() {
      return description?.totalBytes ?? null;
    },
    async append(chunk) {
      await writeAll(file, chunk, bytes);
      update(hashes, chunk);
      bytes += chunk.length;
    },
    async restart() {
      await file.truncate(0);
      await rm(descriptionPath, { force: true });
      hashes = createHashes(algorithms);
      bytes = 0;
      description = null;
    },
    async describe({ secure, headers }) {
      const validator = strongValidator(headers);
      if (validator === null) return;
      const totalBytes = parseLength(headers['content-length']);
      description = { urlSha256: digest(url), secure, validator, totalBytes };
      await writeFile(`${descriptionPath}.new`, JSON.stringify(description));
      await rename(`${descriptionPath}.new`, descriptionPath);
    },
    isOf({ secure, headers: { etag, 'last-modified': lastModified } }) {
      if (description !== null && description.secure !== secure) return false;
      const validator = description?.validator ?? '';
      const current = validator.startsWith('"') ? etag : lastModified;
      return current === undefined || current === validator;
    },
    digests: () => hashes.map(({ algorithm, hash }) => ({ algorithm, hex: hash.copy().digest('hex') })),
    async finish() {
      await file.datasync();
      await rm(descriptionPath, { force: true });
      finished = true;
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      if (!finished && description === null) await rm(path, { force: true });
    },
  };
}

interface RunningHash {
  readonly algorithm: DigestAlgorithm;
  readonly hash: Hash;
}

function createHashes(algorithms: readonly DigestAlgorithm[]): RunningHash[] {
  return algorithms.map((algorithm) => ({ algorithm, hash: createHash(algorithm) }));
}

function update(hashes: readonly RunningHash[], chunk: Buffer): void {
  for (const { hash } of hashes) hash.update(chunk);
}

/** A length in bytes as a header field has it; null where there is none. */
export function parseLength(value: string | undefined): number | null {
  return value !== undefined && /^[0-9]{1,15}$/.test(value) ? Number(value) : null;
}

/**
 * The validator for If-Range (RFC 9110, 8.8.1 and 13.1.5): a strong entity tag, otherwise a modification time that is
 * older than the answer by a second or more, since a file may change twice within one.
 */
function strongValidator({ etag, 'last-modified': lastModified, date }: IncomingHttpHeaders): string | null {
  if (etag?.startsWith('"') === true) return etag;
  if (lastModified === undefined || date === undefined) return null;
  return Date.parse(date) - Date.parse(lastModified) >= 1000 ? lastModified : null;
}

async function readDescription(path: string, url: string): Promise<Description | null> {
  try {
    const description = Description.parse(JSON.parse(await readFile(path, 'utf8')));
    return description.urlSha256 === digest(url) ? description : null;
  } catch {
    // Missing, or cut short by a crash: the part starts anew.
    return null;
  }
}

const digest = (text: string) => createHash('sha256').update(text).digest('hex');
