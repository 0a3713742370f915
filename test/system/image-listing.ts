import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import type { Partition } from '#lib/image/partition.ts';

/**
 * The whole content of an image, read by this machine's kernel and by debugfs, without any part of the guests. Needs
 * root.
 */
export interface ImageListing {
  /** By path from the root of its partition, behind the partition's number: `1:/etc/passwd`. */
  readonly files: ReadonlyMap<string, ListedFile>;
  /** SHA-256 of every part that is no ext4 partition, in the order on the disk: `0-1048576`. */
  readonly rest: ReadonlyMap<string, string>;
}

export interface ListedFile {
  /** As find(1) calls it: `f`, `d`, `l`, `c`, `b`, `p`, `s`. */
  readonly type: string;
  /** Octal, with set-id and sticky bits. */
  readonly mode: string;
  /** `user:group`, in numbers. */
  readonly owner: string;
  /** Of a regular file: bytes, SHA-256 of the content, and number of names. */
  readonly size?: number;
  readonly content?: string;
  readonly names?: number;
  /** Target of a symbolic link. */
  readonly target?: string;
  /** Of a file with several names the first in alphabetical order, where this is another. */
  readonly sameAs?: string;
  /** Extended attributes as debugfs prints them, ACLs and capabilities among them. */
  readonly attributes?: string;
  /** Seconds since 1970. */
  readonly modified: number;
}

/** Lists the image at `path`; `directory` has to have room for it without compression. */
export async function listImage(path: string, directory: string): Promise<ImageListing> {
  const signal = new AbortController().signal;
  const inspection = await inspectImage(path, { maximumVirtualBytes: 16 * 1024 ** 3, signal });
  const raw = join(directory, 'listed.raw');
  try {
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw]);
    return await listRaw(raw, inspection.virtualSizeBytes, inspection.partitions);
  } finally {
    await rm(raw, { force: true });
  }
}

/** Lists a disk without a format around it. */
export async function listRaw(raw: string, sizeBytes: number, partitions: readonly Partition[]): Promise<ImageListing> {
  const files = new Map<string, ListedFile>();
  const rest = new Map<string, string>();
  let from = 0;
  const restUntil = async (to: number) => {
    if (to > from) rest.set(`${from}-${to}`, await hash(raw, from, to));
  };
  for (const partition of partitions.toSorted((one, other) => one.offsetBytes - other.offsetBytes)) {
    const { offsetBytes, number } = partition;
    await restUntil(offsetBytes);
    from = offsetBytes;
    const end = offsetBytes + partition.sizeBytes;
    if (partition.fileSystem?.type === 'ext4') {
      for (const [name, file] of await listFileSystem(raw, partition)) files.set(`${number}:${name}`, file);
    } else await restUntil(end);
    from = end;
  }
  await restUntil(sizeBytes);
  return { files, rest };
}

async function hash(path: string, from: number, to: number): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path, { start: from, end: to - 1, highWaterMark: 2 ** 20 })) {
    digest.update(chunk as Buffer);
  }
  return digest.digest('hex');
}

/**
 * Mounts a file system without a look at its journal, in a namespace of its own, which takes the mount and the loop
 * device with it, and prints what is there. Names with a line break in them are not understood.
 */
const listScript = `set -eu
mount -t ext4 -o "loop,ro,noload,nodev,noexec,offset=$2,sizelimit=$3" "$1" /mnt
cd /mnt
find . -printf 'file\\t%i\\t%n\\t%y\\t%m\\t%U:%G\\t%s\\t%T@\\t%l\\t/%P\\n'
find . -type f -printf '%P\\0' | xargs -0 -r sha256sum --zero -- | tr '\\0' '\\n'`;

async function listFileSystem(
  raw: string,
  { offsetBytes, sizeBytes }: Partition,
): Promise<ReadonlyMap<string, ListedFile>> {
  const contents = new Map<string, string>();
  const files = new Map<string, ListedFile & { readonly inode: number }>();
  const firstNames = new Map<number, string>();
  const strange: string[] = [];
  await exec('unshare', ['--mount', 'sh', '-c', listScript, 'list', raw, String(offsetBytes), String(sizeBytes)], {
    onLine(line, stream) {
      if (stream === 'stderr') return;
      const sum = /^([0-9a-f]{64}) [ *](.*)$/.exec(line);
      if (sum !== null) {
        contents.set(`/${sum[2]}`, sum[1] ?? '');
        return;
      }
      const [kind, inode, names, type = '', mode = '', owner = '', size, modified, target = '', path] =
        line.split('\t');
      if (kind !== 'file' || path === undefined) {
        strange.push(line);
        return;
      }
      const first = firstNames.get(Number(inode)) ?? path;
      firstNames.set(Number(inode), first < path ? first : path);
      files.set(path, {
        inode: Number(inode),
        ...{ type, mode, owner, modified: Number(modified) },
        ...(type === 'f' ? { size: Number(size), names: Number(names) } : {}),
        ...(type === 'l' ? { target } : {}),
      });
    },
  });
  if (strange.length > 0) throw new Error(`not understood in a listing: ${strange.join('; ')}`);
  const attributes = await listAttributes(`${raw}?offset=${offsetBytes}`, [...firstNames.keys()]);
  return new Map(
    [...files].map(([path, { inode, ...file }]): [string, ListedFile] => {
      const content = contents.get(path);
      if (file.type === 'f' && content === undefined) throw new Error(`there is no digest of ${path}`);
      const first = firstNames.get(inode);
      const attribute = attributes.get(inode);
      return [
        path,
        {
          ...file,
          ...(content === undefined ? {} : { content }),
          ...(first === path || first === undefined ? {} : { sameAs: first }),
          ...(attribute === undefined ? {} : { attributes: attribute }),
        },
      ];
    }),
  );
}

/**
 * Attributes by inode, of those that have any. find and tar know nothing of attributes, and getfattr is seldom
 * installed.
 */
async function listAttributes(fileSystem: string, inodes: readonly number[]): Promise<ReadonlyMap<number, string>> {
  const attributes = new Map<number, string>();
  let inode = 0;
  await exec('debugfs', ['-f', '-', fileSystem], {
    input: inodes.map((number) => `ea_list <${number}>\n`).join(''),
    onLine(line, stream) {
      const asked = /^debugfs: +ea_list <([0-9]+)>$/.exec(line);
      if (asked !== null) inode = Number(asked[1]);
      else if (stream === 'stdout' && line.startsWith('  ')) {
        attributes.set(inode, `${attributes.get(inode) ?? ''}${line.trim()}; `);
      }
    },
  });
  return attributes;
}
