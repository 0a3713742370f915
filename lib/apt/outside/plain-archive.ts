import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { copyRanges } from '../../image/copy-range.ts';
import { readAt } from '../../image/read-at.ts';
import { decompressFile } from '../../image/unwrap/decompress-file.ts';
import type { IdRange } from '../../privileges.ts';
import { writeAll } from '../../write-all.ts';
import type { ChangeArchive } from './archives.ts';

/**
 * Packages without compression (deb(5), ar(5)). An emulated dpkg-deb takes ten times as long to decompress as the worker does,
 * which is a third of all that the installation of a package takes there. dpkg installs the same files from both.
 */

const mark = '!<arch>\n';
const headBytes = 60;
const endMark = '`\n';
/** Kinds of packages have three members, and signed ones some more. */
const mostMembers = 16;
const methods = { 'data.tar.xz': 'xz', 'data.tar.gz': 'gzip', 'data.tar.zst': 'zstd' } as const;
type DataName = keyof typeof methods;

export interface PlainOptions {
  /** Smallest compressed content: starting a program for less takes as long as it saves. */
  readonly leastBytes: number;
  /** Largest content of a package; one with more stays as it is. */
  readonly maximumBytes: number;
  /** Users of the tools, where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** Makes packages plain, one after the other, until they take the room; others stay as they are. */
export function plainMaker({
  roomBytes,
  ...options
}: Omit<PlainOptions, 'maximumBytes'> & { readonly roomBytes: number }): ChangeArchive {
  let leftBytes = roomBytes;
  return async (path, installedBytes) => {
    if ((installedBytes ?? 0) > leftBytes) return false;
    const usedBytes = await makePlain(path, { ...options, maximumBytes: leftBytes });
    // So no more than one is begun in vain, whatever the lists say of their sizes.
    leftBytes -= usedBytes ?? leftBytes;
    return usedBytes !== null && usedBytes > 0;
  };
}

/**
 * Puts a package whose files are not compressed in the place of the one at this path. One that is damaged, of an unusual form, too
 * small or too large stays as it is, and so do all on a worker without xz: the image's dpkg says what is wrong with it. Resolves with
 * the bytes of its content where it was replaced, with 0 where that was not begun, and with null where it was begun in vain. Throws
 * `disk.full`, or the reason of the signal.
 */
export async function makePlain(
  path: string,
  { leastBytes, maximumBytes, unprivilegedIds, signal }: PlainOptions,
): Promise<number | null> {
  const [packed, content, made] = [`${path}.packed`, `${path}.content`, `${path}.plain`];
  try {
    await using file = await open(path, 'r');
    const data = await findData(file);
    if (data === null || data.sizeBytes < leastBytes || data.sizeBytes > maximumBytes) return 0;
    await writeNew(packed, file, data, signal);
    const limits = { maximumBytes, unprivilegedIds, signal, onProgress: () => undefined };
    await decompressFile(packed, methods[data.name], content, limits);
    await using plain = await open(content, 'r');
    const { size } = await plain.stat();
    await using output = await open(made, 'wx', 0o644);
    await copyRanges([{ handle: file, offsetBytes: 0, sizeBytes: data.headAt }], output, 0, signal);
    await writeAll(output, headOf(size), data.headAt);
    const all = { handle: plain, offsetBytes: 0, sizeBytes: size };
    await copyRanges([all], output, data.headAt + headBytes, signal);
    if (size % 2 === 1) await writeAll(output, Buffer.from('\n'), data.headAt + headBytes + size);
    await rename(made, path);
    return size;
  } catch (error) {
    signal.throwIfAborted();
    const isOfPackage = error instanceof ImageBuilderError && /^(image|tool)[.]/.test(error.code);
    if (!isOfPackage) throw error;
    return null;
  } finally {
    for (const scratch of [packed, content, made]) await rm(scratch, { force: true });
  }
}

interface Data {
  readonly name: DataName;
  readonly headAt: number;
  readonly contentAt: number;
  readonly sizeBytes: number;
}

/** The member with the files, where it is the last one and compressed in a known way. */
async function findData(file: FileHandle): Promise<Data | null> {
  const { size: fileBytes } = await file.stat();
  if (fileBytes < mark.length || (await readAt(file, 0, mark.length)).toString('latin1') !== mark) return null;
  let at = mark.length;
  for (let members = 0; members < mostMembers && at + headBytes <= fileBytes; members += 1) {
    const head = (await readAt(file, at, headBytes)).toString('latin1');
    const digits = /^([0-9]{1,10}) *$/.exec(head.slice(48, 58))?.[1];
    if (digits === undefined || !head.endsWith(endMark)) return null;
    const sizeBytes = Number(digits);
    const contentAt = at + headBytes;
    const endAt = contentAt + sizeBytes + (sizeBytes % 2);
    const name = head.slice(0, 16).trimEnd().replace(/\/$/, '');
    if (isData(name))
      return endAt === fileBytes || endAt === fileBytes + 1 ? { name, headAt: at, contentAt, sizeBytes } : null;
    at = endAt;
  }
  return null;
}

function isData(name: string): name is DataName {
  return Object.hasOwn(methods, name);
}

function headOf(sizeBytes: number): Buffer {
  const numbers = ['0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644'.padEnd(8), String(sizeBytes).padEnd(10)];
  return Buffer.from(['data.tar'.padEnd(16), ...numbers, endMark].join(''), 'latin1');
}

async function writeNew(path: string, handle: FileHandle, { contentAt, sizeBytes }: Data, signal: AbortSignal) {
  await using output = await open(path, 'wx', 0o600);
  await copyRanges([{ handle, offsetBytes: contentAt, sizeBytes }], output, 0, signal);
}
