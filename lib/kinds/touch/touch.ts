import { chmod, open, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { architectures } from '../../architecture.ts';
import { together } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { untouchedSeconds } from '../../ext4/inode.ts';
import { writeExt4 } from '../../ext4/write.ts';
import type { GuestDisk, PartitionedDisk } from '../../guest/guest.ts';
import type { Compression } from '../../image/compress.ts';
import { type FileDigests, hashFile } from '../../image/digest.ts';
import { createOverlay } from '../../image/overlay.ts';
import type { RootArchive } from '../../tar/root-archive.ts';
import { plain, someOf } from '../../text.ts';
import type { ImageKind, InspectedImage, InspectOptions } from '../kind.ts';
import { type BaseArchive, openBaseArchive } from './base-archive.ts';
import { checkMerged, type Merged, writeMerged } from './merge-changes.ts';
import { planSpace } from './space.ts';
import { treeMember } from './tree-member.ts';

/** Archives of root file systems, as Ubuntu Touch has them. The finished image is one too, in the form of its base. */
export const touch = {
  baseFile: {
    formats: ['tar', 'gzip', 'xz', 'zstd'],
    description: 'a tar archive of a root file system, plain or compressed by gzip, xz or zstd',
  },
  architectures,
  // Measured on a small archive with a cold cache.
  steps: [
    { name: 'fetch', weight: 20 },
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
  sealParts: [],
  async inspect(base, options) {
    return inspected(base.sizeBytes, await openBaseArchive(base, options), options);
  },
} as const satisfies ImageKind;

const formats = { gzip: 'tar.gz', xz: 'tar.xz', zstd: 'tar.zst', none: 'tar' } as const;
const mediaTypes: Readonly<Record<Compression, string>> = {
  gzip: 'application/gzip',
  xz: 'application/x-xz',
  zstd: 'application/zstd',
  none: 'application/x-tar',
};

/** Room for the changes. The file of it takes what is written. */
const largestRoomBytes = 16 * 2 ** 30;
/** Bytes of a file system for each file, beside its content: the inode, the end of its last block, its name. */
const bytesPerFile = 8192;

function diskBytesOf({ contentBytes, entries }: RootArchive, { maximumVirtualBytes }: InspectOptions): number {
  const room = Math.min(maximumVirtualBytes, largestRoomBytes);
  return Math.ceil((contentBytes + bytesPerFile * entries.size + room) / 4096) * 4096;
}

function inspected(fileBytes: number, base: BaseArchive, options: InspectOptions): InspectedImage {
  const { unprivilegedIds } = options;
  const { archive, compression, architecture } = base;
  const diskBytes = diskBytesOf(archive, options);
  let startedSeconds = 0;
  let merged: Merged | null = null;
  return {
    size: { fileBytes, packedBytes: fileBytes, diskBytes },
    format: formats[compression],
    // Inspection has decompressed all of it already.
    readContent: async () => undefined,
    async open(place, { signal }): Promise<PartitionedDisk> {
      const basePath = join(place.workDirectory, 'root.ext4');
      await writeRoot(basePath, base, diskBytes, signal);
      const disk = { format: 'raw', virtualSizeBytes: diskBytes, qcow2: null } as const;
      await createOverlay({ basePath, base: disk, overlayPath: place.overlayPath, unprivilegedIds, signal });
      startedSeconds = Math.floor(Date.now() / 1000);
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
      return [{ role: 'image', name, mediaType: mediaTypes[compression], path, ...digests, format }];
    },
  };
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
