import { type FileHandle, open, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { ImageBuilderError } from '../errors.ts';
import { decompressByTool, type Range, type UnpackLimits, unpack } from '../image/unwrap/decompress.ts';
import { createLz4Reader } from '../lz4.ts';
import { type CpioReader, createCpioReader, type WantedFiles } from './cpio.ts';

/** How far an initial ramdisk could be read. */
export interface InitrdState {
  /** The reason why it cannot be whole; null where it is. */
  readonly damage: string | null;
  /** The reason why it was not looked into, or not to its end; null where it was. */
  readonly unknown: string | null;
}

/** An initial ramdisk, as far as the boot check looks into it. */
export interface Initrd extends InitrdState {
  /** Names of kernel modules, with `_` for `-` and without their endings. */
  readonly modules: ReadonlySet<string>;
}

/** The part of an initial ramdisk that a caller is interested in. */
export interface InitrdVisitor {
  /** Called with the name of each file and folder. */
  onName(name: string): void;
  /** Null where no content is wanted. */
  readonly files: WantedFiles | null;
}

export interface InitrdOptions extends Pick<UnpackLimits, 'unprivilegedIds' | 'signal'> {
  /** A folder for files of the tools, which only this build uses. */
  readonly workDirectory: string;
}

/** An initial ramdisk unpacks in the memory of the machine that boots it. More than this is not read. */
const maximumUnpackedBytes = 2 ** 30;
const maximumModules = 20_000;

type Compression = 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'lz4';
/** The beginnings of compressed data, as the kernel's lib/decompress.c has them. The program `xz` reads lzma, too. */
const magics: readonly (readonly [hex: string, Compression | string])[] = [
  ['1f8b', 'gzip'],
  ['28b52ffd', 'zstd'],
  ['fd377a585a00', 'xz'],
  ['5d0000', 'xz'],
  ['425a68', 'bzip2'],
  ['02214c18', 'lz4'],
  ['894c5a4f', 'lzo, which is not read here'],
];

/**
 * Reads the names in the initial ramdisk that lies in part of a file. Throws `disk.full`, `tool.failed`, or the reason
 * of the signal.
 */
export async function readInitrd(file: FileHandle, range: Range, options: InitrdOptions): Promise<Initrd> {
  const modules = new Set<string>();
  const onName = (name: string) => {
    const module = moduleOf(name);
    if (module !== null && modules.size < maximumModules) modules.add(module);
  };
  return { modules, ...(await visitInitrd(file, range, { onName, files: null }, options)) };
}

/** Shows the visitor all that lies in an initial ramdisk. Throws as `readInitrd` does. */
export async function visitInitrd(
  file: FileHandle,
  range: Range,
  visitor: InitrdVisitor,
  options: InitrdOptions,
): Promise<InitrdState> {
  const result = (damage: string | null, unknown: string | null): InitrdState => ({ damage, unknown });
  const plain = createReader(visitor);
  for await (const chunk of unpack(file, range, 'stored', { signal: options.signal, onProgress: () => undefined })) {
    plain.push(chunk);
    if (plain.foreignAt !== null) break;
  }
  const at = plain.foreignAt;
  if (at === null) return result(plain.whole ? null : 'it ends in the middle', null);
  const rest = { offset: range.offset + at, sizeBytes: range.sizeBytes - at };
  const { buffer } = await file.read(
    Buffer.alloc(Math.min(8, rest.sizeBytes)),
    0,
    Math.min(8, rest.sizeBytes),
    rest.offset,
  );
  const hex = buffer.toString('hex');
  const method = magics.find(([beginning]) => hex.startsWith(beginning))?.[1] ?? null;
  if (method === null) {
    return plain.whole ? result(null, 'it goes on with data of an unknown form') : result('it is damaged', null);
  }
  if (!isCompression(method)) return result(null, `it is compressed by ${method}`);
  try {
    const inner = await unpackInto(file, rest, method, visitor, options);
    if (inner.foreignAt !== null && !inner.whole) return result(null, 'it goes on with data of an unknown form');
    return result(inner.whole ? null : 'it ends in the middle', null);
  } catch (error) {
    if (error instanceof ImageBuilderError && (error.code === 'image.truncated' || error.code === 'image.corrupt')) {
      return result(
        error.code === 'image.truncated' ? 'it ends in the middle' : 'its compressed part is damaged',
        null,
      );
    }
    if (error instanceof RangeError) return result('its compressed part is damaged', null);
    if (error instanceof ImageBuilderError && error.code === 'image.too_large') return result(null, error.message);
    throw error;
  }
}

function createReader(visitor: InitrdVisitor): CpioReader {
  return createCpioReader((name) => visitor.onName(name), visitor.files);
}

async function unpackInto(
  file: FileHandle,
  rest: Range,
  method: Compression,
  visitor: InitrdVisitor,
  options: InitrdOptions,
): Promise<CpioReader> {
  const reader = createReader(visitor);
  const { signal } = options;
  const quiet = { signal, onProgress: () => undefined };
  let unpackedBytes = 0;
  const push = (chunk: Buffer) => {
    unpackedBytes += chunk.length;
    if (unpackedBytes > maximumUnpackedBytes) {
      throw new ImageBuilderError('image.too_large', 'it unpacks to more than 1 GiB');
    }
    reader.push(chunk);
  };
  if (method === 'gzip' || method === 'zstd') {
    for await (const chunk of unpack(file, rest, method, quiet)) push(chunk);
    return reader;
  }
  if (method === 'lz4') {
    const blocks = createLz4Reader(push);
    const packed = { offset: rest.offset + 4, sizeBytes: rest.sizeBytes - 4 };
    for await (const chunk of unpack(file, packed, 'stored', quiet)) blocks.push(chunk);
    if (!blocks.whole) throw new ImageBuilderError('image.truncated', 'a block of LZ4 is cut');
    return reader;
  }
  const [packed, unpacked] = ['packed', 'unpacked'].map((name) => `${options.workDirectory}/initrd-${name}`) as [
    string,
    string,
  ];
  try {
    await using output = await open(packed, 'wx', 0o600);
    await pipeline(unpack(file, rest, 'stored', quiet), output.createWriteStream());
    await (await open(unpacked, 'wx', 0o600)).close();
    await decompressByTool(packed, method, unpacked, {
      ...{ maximumBytes: maximumUnpackedBytes, unprivilegedIds: options.unprivilegedIds },
      ...quiet,
    });
    await using input = await open(unpacked, 'r');
    const { size } = await input.stat();
    for await (const chunk of unpack(input, { offset: 0, sizeBytes: size }, 'stored', quiet)) push(chunk);
    return reader;
  } finally {
    for (const path of [packed, unpacked]) await rm(path, { force: true });
  }
}

function isCompression(method: string): method is Compression {
  return ['gzip', 'zstd', 'xz', 'bzip2', 'lz4'].includes(method);
}

/** The module in a file such as `usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko.xz`; null for another file. */
export function moduleOf(path: string): string | null {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const end = name.search(/\.ko(?:\.(?:xz|zst|gz))?$/);
  return end <= 0 ? null : name.slice(0, end).replaceAll('-', '_');
}
