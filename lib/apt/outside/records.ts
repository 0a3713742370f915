import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { ImageBuilderError, isNodeError } from '../../errors.ts';
import type { ScriptRunner } from '../../guest/guest.ts';
import { type OutsideScriptOptions, outsideTexts, runOutsideScript } from './script.ts';

/** One file out of an image, as scripts/records.sh frames it. */
export interface ImageRecord {
  readonly kind: string;
  /** A file name without folders, a number, or `-`. */
  readonly name: string;
  readonly content: Buffer;
}

const MiB = 1024 * 1024;
/** dpkg's status is 1 KB to 2 KB for each package, and there are some 60,000 packages in Debian. */
const maximumBytes = 96 * MiB;
const maximumRecords = 2_000;
const maximumEncodedCharacters = 64 * MiB;
/** Bytes that a line costs beside its characters, so that empty ones count too. */
const lineCharacters = 16;

const unzip = promisify(gunzip);

/**
 * Runs a script that prints records, and returns them. The output comes from an image, so it is parsed as untrusted.
 */
export async function readRecords(
  inside: ScriptRunner,
  name: 'state' | 'files' | 'repositories',
  options: OutsideScriptOptions = {},
): Promise<ImageRecord[]> {
  const lines: string[] = [];
  let characters = 0;
  await runOutsideScript(inside, name, {
    timeoutMs: 300_000,
    ...options,
    files: { ...options.files, records: outsideTexts.records },
    onLine: (line, stream) => {
      characters += line.length + lineCharacters;
      if (stream === 'stdout' && characters <= maximumEncodedCharacters) lines.push(line);
    },
  });
  if (characters > maximumEncodedCharacters) throw tooLarge();
  return await parseRecords(lines);
}

/** Files of an image by their paths, as far as they are there. */
export type NamedFiles = ReadonlyMap<string, Buffer>;

/** Reads files whose absolute paths are named: keyrings, lists of mirrors. Throws as `readRecords` does. */
export async function readFiles(inside: ScriptRunner, named: readonly string[]): Promise<NamedFiles> {
  const paths = [...new Set(named)];
  if (paths.length === 0) return new Map();
  const records = await readRecords(inside, 'files', { files: { paths: `${paths.join('\n')}\n` } });
  return new Map(
    records.flatMap(({ kind, name, content }): [string, Buffer][] => {
      const path = kind === 'file' ? paths[Number(name)] : undefined;
      return path === undefined ? [] : [[path, content]];
    }),
  );
}

/**
 * Undoes base64, gzip and framing. Throws `image.too_large` beyond the limits, `guest.failed` where the data is cut off
 * or not in this form.
 */
export async function parseRecords(lines: readonly string[]): Promise<ImageRecord[]> {
  if (!lines.every((line) => /^[A-Za-z0-9+/]*={0,2}$/.test(line))) throw garbled();
  const data = await unpack(Buffer.from(lines.join(''), 'base64'));
  const headers: { readonly kind: string; readonly name: string; readonly sizeBytes: number }[] = [];
  let offset = 0;
  for (;;) {
    const end = data.indexOf('\n', offset);
    const header = /^([0-9]{1,9}) ([a-z-]{1,32}) ([A-Za-z0-9._%:+~@,=-]{1,255})$/.exec(
      data.toString('latin1', offset, end === -1 ? offset : Math.min(end, offset + 512)),
    );
    if (header === null) throw garbled();
    const [, size = '', kind = '', name = ''] = header;
    offset = end + 1;
    if (kind === 'end') break;
    if (headers.length === maximumRecords) throw tooLarge();
    headers.push({ kind, name, sizeBytes: Number(size) });
  }
  const records = headers.map(({ kind, name, sizeBytes }): ImageRecord => {
    const content = data.subarray(offset, offset + sizeBytes);
    if (content.length < sizeBytes) throw garbled();
    offset += sizeBytes;
    return { kind, name, content };
  });
  if (offset !== data.length) throw garbled();
  return records;
}

async function unpack(compressed: Buffer): Promise<Buffer> {
  try {
    return await unzip(compressed, { maxOutputLength: maximumBytes });
  } catch (error) {
    throw isNodeError(error) && error.code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge() : garbled(error);
  }
}

function tooLarge(): ImageBuilderError {
  return new ImageBuilderError('image.too_large', 'the base image has more package data than can be taken in');
}

function garbled(cause?: unknown): ImageBuilderError {
  return new ImageBuilderError('guest.failed', 'what the image says of its packages cannot be read', { cause });
}
