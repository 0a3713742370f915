import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError, safeUrl } from '../../errors.ts';
import type { FetchedFile } from '../../fetch/base-images.ts';
import type { Compression } from '../../image/compress.ts';
import { someOf } from '../../text.ts';
import { type ArchiveOptions, type PackedArchive, readArchive, unpackBase } from './base-archive.ts';
import { type PartKind, partKindOf } from './part-kind.ts';

/** An archive of a release beside its root file system, which nothing changes. */
export interface ReleasePart {
  readonly kind: PartKind;
  readonly file: FetchedFile;
  readonly compression: Compression;
}

/** The archives of a release, told apart. */
export interface Release {
  readonly base: FetchedFile;
  readonly unpacked: PackedArchive;
  readonly parts: readonly ReleasePart[];
}

type SortOptions = ArchiveOptions & { readonly workDirectory: string };

/**
 * Tells the archives of a release apart by their content. Each is decompressed and walked, one after another, within the
 * limits of one image. Throws `image.unsupported` where there is not one root file system, where two are the same part, or
 * where one is something else; `image.checksum` where the request names digests, and none for the root file system; and, with
 * the URL, the errors of `readRootArchive`.
 */
export async function sortRelease(files: readonly FetchedFile[], options: SortOptions): Promise<Release> {
  const roots: Omit<Release, 'parts'>[] = [];
  const parts: ReleasePart[] = [];
  let leftBytes = options.maximumVirtualBytes;
  for (const file of files) {
    if (leftBytes <= 0) throw tooLarge(options);
    const { kind, unpacked, sizeBytes } = await examine(file, { ...options, maximumVirtualBytes: leftBytes });
    leftBytes -= sizeBytes;
    if (kind === 'root') roots.push({ base: file, unpacked });
    else parts.push({ kind, file, compression: unpacked.compression });
  }
  for (const [index, { kind, file }] of parts.entries()) {
    const other = parts.slice(0, index).find((part) => part.kind === kind);
    if (other === undefined) continue;
    const message = `url_list holds two ${kind} archives of a release, ${urlOf(other.file)} and ${urlOf(file)}: name one, and its mirrors`;
    throw new ImageBuilderError('image.unsupported', message);
  }
  const [root, second] = roots;
  if (root === undefined) throw noRoot(parts);
  if (second !== undefined) {
    const message = `url_list holds two root file systems, ${urlOf(root.base)} and ${urlOf(second.base)}: name one, and its mirrors`;
    throw new ImageBuilderError('image.unsupported', message);
  }
  if (!root.base.isNamed) {
    const message = `neither base_image.checksum nor a list of checksums in url_list is about the root file system ${urlOf(root.base)}`;
    throw new ImageBuilderError('image.checksum', message);
  }
  return { ...root, parts };
}

/**
 * The error for an archive that holds no root file system and is the only one: the one that was thrown, or a better one where
 * it is a part of a release.
 */
export async function explainNoRoot(
  thrown: unknown,
  file: FetchedFile,
  { path }: PackedArchive,
  options: ArchiveOptions,
): Promise<unknown> {
  options.signal.throwIfAborted();
  const archive = await readArchive(path, options, 'part').catch(() => null);
  const kind = archive === null ? null : partKindOf(archive, file.fileName);
  return kind === null || kind === 'root' ? thrown : noRoot([{ kind, file }]);
}

/** The error where `parts` are all that there is. */
function noRoot(parts: readonly Pick<ReleasePart, 'kind' | 'file'>[]): ImageBuilderError {
  const found = someOf(parts.map(({ kind, file }) => `the ${kind} archive ${urlOf(file)}`));
  const message = `url_list holds no root file system, but ${found} of a release: add the URL of its root file system`;
  return new ImageBuilderError('image.unsupported', message);
}

function tooLarge({ maximumVirtualBytes }: SortOptions): ImageBuilderError {
  const message = `the archives of url_list unpack to more than ${maximumVirtualBytes} bytes`;
  return new ImageBuilderError('image.too_large', message);
}

/** The kind of an archive, and where it lies unpacked: a root file system stays there. */
async function examine(file: FetchedFile, options: SortOptions) {
  const path = join(options.workDirectory, 'part.tar');
  try {
    const unpacked = await unpackBase(file, path, options);
    const archive = await readArchive(unpacked.path, options, 'part');
    const kind = partKindOf(archive, file.fileName);
    if (kind === null) {
      const names = someOf([...archive.entries.keys()].slice(0, 20).map((name) => JSON.stringify(name)));
      const message = `it holds neither a root file system nor a part of a release (device, custom, version), but ${names || 'nothing'}`;
      throw new ImageBuilderError('image.unsupported', message);
    }
    const sizeBytes = archive.contentBytes;
    if (kind !== 'root' || unpacked.compression === 'none') return { kind, unpacked, sizeBytes };
    const kept = join(options.workDirectory, `${file.sha256}.tar`);
    await rename(unpacked.path, kept);
    return { kind, unpacked: { ...unpacked, path: kept }, sizeBytes };
  } catch (error) {
    options.signal.throwIfAborted();
    if (!(error instanceof ImageBuilderError) || !error.code.startsWith('image.')) throw error;
    throw new ImageBuilderError(error.code, `${urlOf(file)}: ${error.message}`, { cause: error });
  } finally {
    await rm(path, { force: true });
  }
}

const urlOf = ({ url }: FetchedFile) => safeUrl(url);
