import { chmod, open, stat } from 'node:fs/promises';
import { architectureOf, programHeadBytes } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import type { BaseImage } from '../../fetch/base-image.ts';
import type { Compression } from '../../image/compress.ts';
import { readAt } from '../../image/read-at.ts';
import { recogniseFile } from '../../image/recognise-file.ts';
import { decompressFile } from '../../image/unwrap/decompress-file.ts';
import { type ArchiveScope, type RootArchive, readRootArchive } from '../../tar/root-archive.ts';
import type { InspectOptions } from '../kind.ts';
import { statusPath } from './part-kind.ts';

/** An archive as it was downloaded, and unpacked as far as its members are files in it. */
export interface PackedArchive {
  /** A plain tar. */
  readonly path: string;
  readonly compression: Compression;
  /** Level of gzip that its header names: 1, 6 or 9. */
  readonly gzipLevel: number;
}

/** The archive of a root file system. */
export interface BaseArchive extends PackedArchive {
  readonly archive: RootArchive;
  /** Of its programs, by Debian's name; null where it cannot be told. */
  readonly architecture: string | null;
}

/** More files than any root file system has, and the memory for their names. */
const maximumEntries = 2_000_000;
const maximumNameBytes = 256 * 2 ** 20;

/** Limits of unpacking. */
export type ArchiveOptions = Pick<InspectOptions, 'maximumVirtualBytes' | 'unprivilegedIds' | 'signal' | 'onProgress'>;

/**
 * Decompresses an archive to this path; one that is plain stays where it is. Throws `image.unsupported` where it is none, and
 * as `decompressFile` does.
 */
export async function unpackBase(
  base: Pick<BaseImage, 'path'>,
  path: string,
  options: ArchiveOptions,
): Promise<PackedArchive> {
  const { compression, gzipLevel } = await compressionOf(base.path);
  if (compression === 'none') return { path: base.path, compression, gzipLevel };
  await unpackArchive(base.path, compression, path, options);
  await chmod(path, 0o444);
  await assertArchive(path);
  return { path, compression, gzipLevel };
}

/**
 * Reads the headers of a root file system. Throws `image.unsupported` where it is none, and as `readRootArchive` does.
 */
export async function openBaseArchive(packed: PackedArchive, options: ArchiveOptions): Promise<BaseArchive> {
  const { path } = packed;
  const archive = await readArchive(path, options);
  for (const [wanted, type] of [
    ['etc', 'directory'],
    [statusPath, 'file'],
  ] as const) {
    if (archive.entries.get(wanted)?.type === type) continue;
    const message = `the archive holds no root file system of Debian or Ubuntu: it has no ${wanted}`;
    throw new ImageBuilderError('image.unsupported', message);
  }
  return { ...packed, archive, architecture: await architectureOfRoot(path, archive) };
}

/** Programs that every system has, one of them as a file and not as a link. */
const programs = ['dpkg', 'dash', 'bash', 'cat', 'env'].flatMap((name) => [`usr/bin/${name}`, `bin/${name}`]);

async function architectureOfRoot(path: string, { entries }: RootArchive): Promise<string | null> {
  await using handle = await open(path, 'r');
  for (const program of programs) {
    const entry = entries.get(program);
    if (entry?.type !== 'file' || entry.sizeBytes < programHeadBytes) continue;
    const architecture = architectureOf(await readAt(handle, entry.contentAt, programHeadBytes));
    if (architecture !== null) return architecture;
  }
  return null;
}

async function compressionOf(path: string): Promise<{ compression: Compression; gzipLevel: number }> {
  await using handle = await open(path, 'r');
  const { size } = await handle.stat();
  const { format, name } = await recogniseFile(handle, size);
  if (format === 'gzip' || format === 'xz' || format === 'zstd') {
    // RFC 1952: extra flags of the method.
    const { buffer } = await handle.read({ buffer: Buffer.alloc(10), position: 0 });
    const gzipLevel = buffer[8] === 2 ? 9 : buffer[8] === 4 ? 1 : 6;
    return { compression: format, gzipLevel };
  }
  if (format === 'tar') return { compression: 'none', gzipLevel: 6 };
  throw new ImageBuilderError('image.unsupported', `the image is ${name}, where an archive of a system is wanted`);
}

/** Throws `image.unsupported` for the content of a compressed file that is known to be something else. */
async function assertArchive(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  const { format, name } = await recogniseFile(handle, (await handle.stat()).size);
  // Archives of version 7 have no mark.
  if (format === 'tar' || format === 'unknown') return;
  const message = `the compressed file holds ${name}, where an archive of a system is wanted`;
  throw new ImageBuilderError('image.unsupported', message);
}

/** Decompresses one file into another. */
export async function unpackArchive(
  path: string,
  compression: Exclude<Compression, 'none'>,
  outputPath: string,
  { maximumVirtualBytes, unprivilegedIds, signal, onProgress }: ArchiveOptions,
): Promise<void> {
  const limits = { maximumBytes: maximumVirtualBytes, unprivilegedIds, signal, onProgress };
  await decompressFile(path, compression, outputPath, limits);
}

/** Reads the headers of a plain tar. */
export async function readArchive(
  path: string,
  { signal }: Pick<InspectOptions, 'signal'>,
  scope: ArchiveScope = 'whole',
): Promise<RootArchive> {
  await using handle = await open(path, 'r');
  const region = { handle, offset: 0, length: (await stat(path)).size };
  return await readRootArchive(region, { maximumEntries, maximumNameBytes, scope, signal });
}
