import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { ImageBuilderError, isNodeError } from '../../errors.ts';
import { exec } from '../../exec.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { type GuestKernel, moduleName, modulesToLoad } from './kernel.ts';
import type { LinkedProgram } from './linked-program.ts';
import { vmScripts } from './script.ts';

/**
 * The first root file system of the vm: busybox, the kernel modules that this image needs, and our init. It is not
 * compressed: copying a few MB is faster than unpacking them on an emulated processor.
 */

/** The commands of init and of the scripts around the image, all of busybox. */
const applets = [
  ...['[', 'blockdev', 'cat', 'chmod', 'chroot', 'date', 'echo', 'env', 'fstrim', 'head', 'hostname', 'insmod', 'ip'],
  ...[
    'linux32',
    'ln',
    'ls',
    'mkdir',
    'mkfifo',
    'mkswap',
    'mknod',
    'mount',
    'mv',
    'nsenter',
    'od',
    'poweroff',
    'printf',
    'rm',
    'sed',
    'sh',
    'sleep',
  ],
  ...['stat', 'swapon', 'sync', 'test', 'umount', 'unshare', 'wc'],
];

const busyboxPaths = ['bin/busybox', 'usr/bin/busybox'];
/**
 * The drivers that init loads only when a vm begins: with them the disks and random numbers of this start come in.
 * No other module needs them.
 */
const beginModules = ['virtio_blk', 'virtio_rng'];

const unusedMs = 30 * 24 * 60 * 60 * 1000;

export interface InitramfsOptions {
  readonly kernel: GuestKernel;
  /** The content of the program. */
  readonly busybox: Buffer;
  readonly modules: readonly string[];
  readonly optionalModules: readonly string[];
  /** A program that it carries besides; null for none. */
  readonly program: LinkedProgram | null;
  /** Folder of initramfs, whose names derive from their parts. */
  readonly directory: string;
}

/**
 * Path of the initramfs, which is made where it is missing. Throws `guest.unavailable` where a part of it is missing.
 */
export async function prepareInitramfs(options: InitramfsOptions): Promise<string> {
  const { kernel, busybox, directory } = options;
  const modulePaths = modulesToLoad(kernel, options.modules, options.optionalModules);
  const files = modulePaths.map((path) => join(kernel.modules.directory, path));
  const key = createHash('sha256').update(busybox).update(vmScripts.init).update(applets.join(' '));
  for (const path of [...files, ...(options.program?.paths.values() ?? [])]) {
    const { size, mtimeMs } = await stat(path);
    key.update(`${path} ${size} ${mtimeMs}\n`);
  }
  const path = join(directory, `initramfs-${kernel.release}-${key.digest('hex').slice(0, 16)}.cpio`);
  const now = new Date();
  try {
    await utimes(path, now, now);
    return path;
  } catch (error) {
    if (!isNodeError(error) || error.code !== 'ENOENT') throw error;
  }
  const modules = await Promise.all(
    files.map(async (path) => ({
      folder: beginModules.includes(moduleName(path)) ? 'modules/begin' : 'modules',
      content: await readModule(path),
    })),
  );
  const tools = new Map<string, Buffer>();
  for (const [name, file] of options.program?.paths ?? []) tools.set(name, await readFile(file));
  await mkdir(directory, { recursive: true });
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeFile(temporary, archive(busybox, modules, tools));
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  await removeUnused(directory);
  return path;
}

interface LoadedModule {
  /** The folder from which init loads it. */
  readonly folder: string;
  readonly content: Buffer;
}

function archive(busybox: Buffer, modules: readonly LoadedModule[], tools: ReadonlyMap<string, Buffer>): Buffer {
  const folder = (path: string): CpioEntry => ({ kind: 'folder', path, mode: 0o755 });
  return writeCpio([
    ...['bin', 'dev', 'guest', 'modules', 'modules/begin', 'proc', 'sys', 'tools'].map(folder),
    { kind: 'device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: busybox },
    ...applets.map((name): CpioEntry => ({ kind: 'link', path: `bin/${name}`, mode: 0o777, target: 'busybox' })),
    ...modules.map(({ folder, content }, index): CpioEntry => {
      return { kind: 'file', path: `${folder}/${String(index).padStart(3, '0')}.ko`, mode: 0o644, content };
    }),
    ...[...tools].map(([name, content]): CpioEntry => ({ kind: 'file', path: `tools/${name}`, mode: 0o755, content })),
    { kind: 'file', path: 'init', mode: 0o755, content: Buffer.from(vmScripts.init) },
  ]);
}

/** The busybox below `root`. Throws `guest.unavailable` where there is none, or one that needs libraries. */
export async function readBusybox(root = '/'): Promise<Buffer> {
  for (const path of busyboxPaths) {
    const content = await readFile(join(root, path)).catch(() => null);
    if (content !== null && isStatic(content)) return content;
  }
  throw new ImageBuilderError('guest.unavailable', 'the vm needs a static busybox: apt-get install busybox-static');
}

/** ELF without a program header that asks for an interpreter (PT_INTERP); 64 bits, little endian. */
function isStatic(elf: Buffer): boolean {
  if (elf.length < 64 || elf.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') return false;
  const start = Number(elf.readBigUInt64LE(32));
  const [size, count] = [elf.readUInt16LE(54), elf.readUInt16LE(56)];
  if (count === 0 || start + size * count > elf.length) return false;
  return Array.from({ length: count }, (_, index) => elf.readUInt32LE(start + index * size)).every(
    (type) => type !== 3,
  );
}

/** A module, decompressed where the distribution stores it compressed. */
async function readModule(path: string): Promise<Buffer> {
  const content = await readFile(path);
  if (path.endsWith('.gz')) return await promisify(gunzip)(content);
  if (path.endsWith('.zst')) return await promisify(zstdDecompress)(content);
  if (!path.endsWith('.xz')) return content;
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-module-'));
  try {
    const copy = join(directory, 'module.ko.xz');
    await writeFile(copy, content);
    await exec('busybox', ['unxz', copy]);
    return await readFile(join(directory, 'module.ko'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function removeUnused(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith('initramfs-')) continue;
    const path = join(directory, name);
    const found = await stat(path).catch(() => null);
    if (found !== null && found.mtimeMs < Date.now() - unusedMs) await rm(path, { force: true });
  }
}
