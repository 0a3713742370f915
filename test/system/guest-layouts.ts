import { mkdir, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { type TestImage, type TestImageOptions, writeSystem } from './guest-image.ts';

/** Small images with partitions of any kind, made by the real tools. */

export interface LayoutPartition {
  readonly number: number;
  /** GPT type as sfdisk takes it. */
  readonly type: string;
  /** PARTLABEL. */
  readonly name?: string;
  readonly sizeMiB: number;
  /** GPT partition GUID. */
  readonly uuid?: string;
  readonly content: LayoutContent;
}

export type LayoutContent =
  | ({ readonly ext: readonly string[]; readonly system?: 'whole' | 'without-usr' | 'usr' } & TestImageOptions)
  /** Makes the file system in the empty file at the path. */
  | { readonly make: (path: string) => Promise<void> };

export const linuxType = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
const MiB = 1024 * 1024;

/** Makes the image `directory/name.qcow2`, with a GPT. */
export async function makeLayout(
  directory: string,
  name: string,
  parts: readonly LayoutPartition[],
): Promise<TestImage> {
  const work = await mkdtemp(join(directory, `${name}-`));
  const raw = join(work, 'disk.raw');
  await writeFile(raw, '');
  await truncate(raw, (parts.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0) + 2) * MiB);
  let start = 1;
  const lines = parts.map(({ number, type, name: label, sizeMiB, uuid }) => {
    const named = label === undefined ? '' : `, name="${label}"`;
    const line = `${number} : start=${start * 2048}, size=${sizeMiB * 2048}, type=${type}${named}${uuid === undefined ? '' : `, uuid=${uuid}`}`;
    start += sizeMiB;
    return line;
  });
  await exec('sfdisk', ['--quiet', raw], { input: `label: gpt\n${lines.join('\n')}\n` });
  start = 1;
  for (const { number, sizeMiB, content } of parts) {
    const file = join(work, `part${number}`);
    await writeFile(file, '');
    await truncate(file, sizeMiB * MiB);
    if ('make' in content) await content.make(file);
    else await makeExt(file, content);
    const place = ['bs=1M', `seek=${start}`, 'conv=notrunc,sparse', 'status=none'];
    await exec('dd', [`if=${file}`, `of=${raw}`, ...place]);
    start += sizeMiB;
  }
  const path = join(directory, `${name}.qcow2`);
  await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  await rm(work, { recursive: true });
  const { partitions } = await inspectImage(path, { maximumVirtualBytes: 2 ** 40 });
  return { path, partitions };
}

async function makeExt(file: string, content: Extract<LayoutContent, { ext: readonly string[] }>): Promise<void> {
  const tree = `${file}.tree`;
  await mkdir(tree);
  if (content.system === undefined) await writeFiles(tree, content.files ?? {});
  else await writeSystem(tree, content);
  if (content.system === 'without-usr') await rm(join(tree, 'usr'), { recursive: true });
  const top = content.system === 'usr' ? join(tree, 'usr') : tree;
  await exec('mke2fs', ['-q', '-F', '-t', 'ext4', ...content.ext, '-E', 'root_owner=0:0', '-d', top, file]);
  if (content.tampering !== undefined) await exec('debugfs', ['-w', '-f', '-', file], { input: content.tampering });
}

async function writeFiles(tree: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), text);
  }
}

/** Makes a btrfs with subvolumes by this machine's kernel: a folder of files for each name. */
export function btrfsWith(
  options: readonly string[],
  subvolumes: Readonly<Record<string, (tree: string) => Promise<void>>>,
): LayoutContent {
  return {
    async make(path) {
      await exec('mkfs.btrfs', ['-q', ...options, path]);
      const mount = `${path}.mount`;
      await mkdir(mount);
      await exec('mount', ['-t', 'btrfs', '-o', 'loop', path, mount]);
      try {
        for (const [name, write] of Object.entries(subvolumes)) {
          const folder = join(mount, name);
          await exec('btrfs', ['-q', 'subvolume', 'create', folder]);
          await write(folder);
        }
        // Another process may have got the mount with a new namespace, which then keeps the file system in use.
        await exec('sync', ['--file-system', mount]);
      } finally {
        await exec('umount', [mount]);
      }
    },
  };
}

/** Writes what marks a partition as something. */
export function marked(offset: number, mark: string): LayoutContent {
  return {
    async make(path) {
      await using file = await open(path, 'r+');
      await file.write(Buffer.from(mark, 'latin1'), 0, mark.length, offset);
    },
  };
}
