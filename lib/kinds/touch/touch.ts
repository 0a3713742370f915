import { chmod, open, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { architectures } from '../../architecture.ts';
import { together } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { untouchedSeconds } from '../../ext4/inode.ts';
import { writeExt4 } from '../../ext4/write.ts';
import type { FetchedFile } from '../../fetch/base-images.ts';
import type { GuestDisk, PartitionedDisk } from '../../guest/guest.ts';
import { type FileDigests, hashFile } from '../../image/digest.ts';
import { copyOverlay, createOverlay } from '../../image/overlay.ts';
import { writeArtifact } from '../../store/write-artifact.ts';
import type { RootArchive } from '../../tar/root-archive.ts';
import { plain, someOf } from '../../text.ts';
import type { ImageKind, InspectedImage, InspectOptions } from '../kind.ts';
import { formats, mediaTypes } from './archive-format.ts';
import { type BaseArchive, openBaseArchive, unpackBase } from './base-archive.ts';
import { describeRoot, isOfPool, parseDescribedVersion, poolWord } from './companion.ts';
import { copyParts } from './copy-parts.ts';
import { checkMerged, type Merged, writeMerged } from './merge-changes.ts';
import { explainNoRoot, type ReleasePart, sortRelease } from './release.ts';
import { planSpace } from './space.ts';
import { treeMember } from './tree-member.ts';

/** Archives of root file systems, as Ubuntu Touch has them. The finished image is one too, in the form of its base. */
export const touch = {
  baseFile: {
    formats: ['tar', 'gzip', 'xz', 'zstd'],
    mayHaveParts: true,
    description: 'a tar archive of a root file system, plain or compressed by gzip, xz or zstd',
  },
  architectures,
  // Measured on a small archive with a cold cache.
  steps: [
    { name: 'fetch', weight: 20 },
    { name: 'reuse', weight: 1 },
    { name: 'inspect', weight: 3 },
    { name: 'open', weight: 5 },
    { name: 'sources', weight: 20 },
    { name: 'install', weight: 30 },
    { name: 'seal', weight: 3 },
    { name: 'repack', weight: 14 },
    { name: 'check', weight: 5 },
    { name: 'upload', weight: 10 },
  ],
  planSpace,
  isDisk: false,
  layerForm: 'overlay',
  sealParts: [],
  async inspect(base, options) {
    const { files = [{ ...base, fileName: '', beside: [], isNamed: true }] } = options;
    return inspected(await openRelease(files, options), options);
  },
} as const satisfies ImageKind;

/** Room for the changes. The file of it takes what is written. */
const largestRoomBytes = 16 * 2 ** 30;
/** Bytes of a file system for each file, beside its content: the inode, the end of its last block, its name. */
const bytesPerFile = 8192;

function diskBytesOf({ contentBytes, entries }: RootArchive, { maximumVirtualBytes }: InspectOptions): number {
  const room = Math.min(maximumVirtualBytes, largestRoomBytes);
  return Math.ceil((contentBytes + bytesPerFile * entries.size + room) / 4096) * 4096;
}

/** The root file system among the files, and the other parts of its release. */
async function openRelease(files: readonly FetchedFile[], options: InspectOptions): Promise<OpenedRelease> {
  const [file, other] = files;
  if (file !== undefined && other === undefined) {
    const packed = await unpackBase(file, join(options.workDirectory, 'root.tar'), options);
    const archive = await openBaseArchive(packed, options).catch(async (error: unknown) => {
      throw await explainNoRoot(error, file, packed, options);
    });
    return { file, base: archive, parts: [] };
  }
  const { base, unpacked, parts } = await sortRelease(files, options);
  return { file: base, base: await openBaseArchive(unpacked, options), parts };
}

interface OpenedRelease {
  /** The root file system as it was downloaded. */
  readonly file: FetchedFile;
  readonly base: BaseArchive;
  readonly parts: readonly ReleasePart[];
}

function inspected({ file, base, parts }: OpenedRelease, options: InspectOptions): InspectedImage {
  const { unprivilegedIds } = options;
  const { archive, compression, architecture } = base;
  const diskBytes = diskBytesOf(archive, options);
  const fileBytes = file.sizeBytes;
  const partBytes = parts.reduce((sum, part) => sum + part.file.sizeBytes, 0);
  let openedSeconds = 0;
  let startedSeconds = 0;
  let buildId = '';
  let merged: Merged | null = null;
  return {
    base: file,
    size: { fileBytes, packedBytes: fileBytes, diskBytes, partBytes },
    format: formats[compression],
    // Inspection has decompressed all of it already.
    readContent: async () => undefined,
    async open(place, { signal, begun }): Promise<PartitionedDisk> {
      const basePath = join(place.workDirectory, 'root.ext4');
      await writeRoot(basePath, base, diskBytes, signal);
      const disk = { format: 'raw', virtualSizeBytes: diskBytes, qcow2: null } as const;
      const { overlayPath } = place;
      if (begun === undefined) await createOverlay({ basePath, base: disk, overlayPath, signal });
      else await copyOverlay(begun.path, overlayPath, signal);
      openedSeconds = Math.floor(Date.now() / 1000);
      startedSeconds = begun?.openedSeconds ?? openedSeconds;
      return {
        ...place,
        ...(architecture === null ? {} : { architecture }),
        base: { path: basePath, format: 'raw' },
        partitions: [wholeDisk(diskBytes)],
        changes: {
          untouchedSeconds,
          members: [...archive.entries.keys()],
          path: join(place.workDirectory, 'changes.tar'),
          maximumBytes: Math.min(options.maximumVirtualBytes, largestRoomBytes),
          gonePath: join(place.workDirectory, 'gone'),
        },
      };
    },
    boot: null,
    waysToBoot: null,
    repetitions: () => [],
    changedBytes: async ({ overlayPath }) => (await stat(overlayPath)).blocks * 512,
    async pack(disk, path, { xzPreset, xzThreads, signal, onProgress, onLog, onWarning }) {
      buildId = disk.buildId;
      // Only the changes are needed from here on.
      await rm(disk.base.path);
      const changes = { ...changesOf(disk), startedSeconds };
      merged = await writeMerged(base, changes, path, { unprivilegedIds, xzPreset, xzThreads, signal, onProgress });
      const { replaced, added, removed, stripped } = merged.plan;
      const kept = archive.entries.size - replaced.size - removed.size;
      onLog(
        `merged: ${kept} members stay, ${replaced.size} have changed, ${added.size} are new, ${removed.size} are gone`,
      );
      if (stripped.length > 0) {
        const names = someOf(stripped.map((name) => plain(Buffer.from(name, 'latin1').toString())));
        onWarning(
          `the archive is in GNU tar's format, which has no attributes: ${names} lose theirs, and capabilities`,
        );
      }
    },
    async check(path, name, { signal, onProgress }) {
      if (merged === null) throw new ImageBuilderError('internal', 'the image is checked before it is packed');
      const made = merged;
      const unpackedPath = join(dirname(path), 'checked.tar');
      const checking = { ...options, unpackedPath, onProgress: () => undefined };
      const [digests] = await together<[FileDigests, unknown]>(signal, (both) => [
        hashFile(path, { signal: both, onProgress }),
        checkMerged(path, base, made, { ...checking, signal: both }).catch((error: unknown) => {
          both.throwIfAborted();
          throw asOutput(error);
        }),
      ]).finally(() => rm(unpackedPath, { force: true }));
      const format = formats[compression];
      const image = { role: 'image', name, mediaType: mediaTypes[compression], path, ...digests, format } as const;
      const copies = await copyParts(parts, dirname(path), signal);
      if (!isOfPool(base)) return [image, ...copies];
      const word = poolWord(file);
      const { sha256 } = digests.checksums;
      const { series } = options.baseImage;
      const companion = { role: 'companion', name: `${word}-${sha256}.json`, mediaType: 'application/json' } as const;
      const description = describeRoot({ word, sha256, version: newVersion(file, openedSeconds, buildId), series });
      const written = await writeArtifact(companion, description, dirname(path));
      return [{ ...image, name: `${word}-${sha256}.${format}` }, written, ...copies];
    },
  };
}

/** The version of the base, or else the day of the build, with the beginning of the build's id. */
function newVersion({ beside }: FetchedFile, openedSeconds: number, buildId: string): string {
  const described = beside.find(({ role }) => role === 'companion');
  const version = described === undefined ? null : parseDescribedVersion(described.content.toString());
  const day = new Date(openedSeconds * 1000).toISOString().slice(0, 10).replaceAll('-', '');
  return `${version ?? day}-${buildId.slice(0, 8)}`;
}

/** The base's archive as a file system that a guest opens. */
async function writeRoot(
  path: string,
  { path: archivePath, archive }: BaseArchive,
  sizeBytes: number,
  signal: AbortSignal,
) {
  await using source = await open(archivePath, 'r');
  const members = archive.entries.entries().map(([name, entry]) => treeMember(name, entry));
  await writeExt4(path, members, { source, sizeBytes, signal });
  await chmod(path, 0o444);
}

function wholeDisk(sizeBytes: number): PartitionedDisk['partitions'][number] {
  const fileSystem = { type: 'ext4', label: null, uuid: null } as const;
  return { number: 0, offsetBytes: 0, sizeBytes, type: null, name: null, partitionUuid: null, fileSystem };
}

function changesOf(disk: GuestDisk): { readonly path: string; readonly gonePath: string } {
  if ('partitions' in disk && disk.changes !== undefined) return disk.changes;
  throw new ImageBuilderError('internal', 'an archive was opened as another kind of disk');
}

/** A finished archive that cannot be read is a fault of ours. */
function asOutput(error: unknown): unknown {
  if (!(error instanceof ImageBuilderError) || error.code === 'image.output' || !error.code.startsWith('image.')) {
    return error;
  }
  return new ImageBuilderError('image.output', `the new archive cannot be read: ${error.message}`, { cause: error });
}
