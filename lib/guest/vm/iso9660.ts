import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { writeAll } from '../../write-all.ts';

/**
 * Writes the read-only file system through which the worker hands files to the vm: ISO 9660 (ECMA-119) with the names
 * of Rock Ridge (`NM` of IEEE P1282, over the `SP` of IEEE P1281), and of both only the parts that Linux reads: it has
 * no path tables, and no owners and modes, which the mount sets.
 */

/**
 * The files of the file system, by path such as `files/script`: bytes, or a file of the worker. Folders follow from it.
 */
export type IsoFiles = ReadonlyMap<string, IsoContent>;
export type IsoContent = Uint8Array | { readonly copyOf: string };

const sectorBytes = 2048;
const firstExtent = 18;
/** A directory record has at most 255 bytes; the name shares it with fixed fields. */
const maximumNameBytes = 200;
const maximumFileBytes = 2 ** 32 - 1;
const copyBytes = 1024 * 1024;

interface Node {
  readonly name: string;
  readonly parent: Folder | null;
  extent: number;
  sizeBytes: number;
}
interface Folder extends Node {
  readonly children: Map<string, Folder | File>;
}
interface File extends Node {
  readonly content: IsoContent;
}

/**
 * Writes the file system of `files` to the beginning of `target` and returns its size in bytes. Throws `internal` for
 * names and files that are too long, and the reason of `signal`.
 */
export async function writeIso(target: FileHandle, files: IsoFiles, signal?: AbortSignal): Promise<number> {
  const root = await buildTree(files);
  const folders = listFolders(root);
  let extent = firstExtent;
  for (const folder of folders) {
    folder.extent = extent;
    folder.sizeBytes = renderFolder(folder).length;
    extent += folder.sizeBytes / sectorBytes;
  }
  const contents = folders.flatMap((folder) => [...folder.children.values()]).filter((child) => 'content' in child);
  for (const file of contents) {
    file.extent = extent;
    extent += Math.ceil(file.sizeBytes / sectorBytes);
  }
  await writeAll(target, descriptors(root, extent), 16 * sectorBytes);
  for (const folder of folders) await writeAll(target, renderFolder(folder), folder.extent * sectorBytes);
  for (const { content, extent: place, sizeBytes } of contents) {
    if ('copyOf' in content) await copy(content.copyOf, target, place * sectorBytes, sizeBytes, signal);
    else await writeAll(target, content, place * sectorBytes);
  }
  // The last sector is whole, so that it can be read.
  await writeAll(target, Buffer.alloc(1), (extent + 1) * sectorBytes - 1);
  return (extent + 1) * sectorBytes;
}

async function buildTree(files: IsoFiles): Promise<Folder> {
  const root: Folder = { name: '', parent: null, extent: 0, sizeBytes: 0, children: new Map() };
  for (const [path, content] of files) {
    const names = path.split('/');
    const last = names.pop() ?? '';
    let folder = root;
    for (const name of names) {
      assertName(name, path);
      const known = folder.children.get(name);
      if (known !== undefined && 'content' in known) throw misfit(path, 'lies in a file');
      const next = known ?? { name, parent: folder, extent: 0, sizeBytes: 0, children: new Map() };
      folder.children.set(name, next);
      folder = next;
    }
    assertName(last, path);
    if (folder.children.has(last)) throw misfit(path, 'is there twice');
    const sizeBytes = 'copyOf' in content ? (await lstat(content.copyOf)).size : content.byteLength;
    if (sizeBytes > maximumFileBytes) throw misfit(path, 'is larger than 4 GiB');
    folder.children.set(last, { name: last, parent: folder, extent: 0, sizeBytes, content });
  }
  return root;
}

function assertName(name: string, path: string): void {
  if (name === '' || name === '.' || name === '..' || name.includes('\0')) throw misfit(path, 'is no name of a file');
  if (Buffer.byteLength(name) > maximumNameBytes) throw misfit(path, 'has too long a name');
}

function misfit(path: string, why: string): ImageBuilderError {
  return new ImageBuilderError('internal', `the file ${JSON.stringify(path)} cannot be handed to the vm: it ${why}`);
}

function listFolders(folder: Folder): Folder[] {
  const below = [...folder.children.values()].filter((child) => 'children' in child);
  return [folder, ...below.flatMap(listFolders)];
}

/** Records in the order of their identifiers; none reaches over the end of a sector. */
function renderFolder(folder: Folder): Buffer {
  const own = directoryRecord(folder, '\0', folder.parent === null ? sharingProtocol : Buffer.alloc(0));
  const parent = directoryRecord(folder.parent ?? folder, '\x01', Buffer.alloc(0));
  const records = [...folder.children.values()].map((child, index) =>
    // The NM entry has the real name; identifiers only have to differ.
    directoryRecord(child, index.toString(16).toUpperCase().padStart(8, '0'), alternateName(child.name)),
  );
  const sectors: Buffer[] = [];
  let sector: Buffer[] = [];
  let used = 0;
  const flush = () => {
    sectors.push(Buffer.concat(sector, sectorBytes));
    sector = [];
    used = 0;
  };
  for (const record of [own, parent, ...records]) {
    if (used + record.length > sectorBytes) flush();
    sector.push(record);
    used += record.length;
  }
  flush();
  return Buffer.concat(sectors);
}

/** ECMA-119 9.1. */
function directoryRecord(node: Folder | File, identifier: string, systemUse: Buffer): Buffer {
  const fixedBytes = 33 + identifier.length + (identifier.length % 2 === 0 ? 1 : 0);
  const bytes = fixedBytes + systemUse.length + (systemUse.length % 2);
  const record = Buffer.alloc(bytes);
  record.writeUInt8(bytes, 0);
  writeBothEndian32(record, node.extent, 2);
  writeBothEndian32(record, node.sizeBytes, 10);
  record.set([70, 1, 1, 0, 0, 0, 0], 18); // recorded on 1 January 1970
  record.writeUInt8('children' in node ? 2 : 0, 25);
  writeBothEndian16(record, 1, 28); // volume
  record.writeUInt8(identifier.length, 32);
  record.write(identifier, 33, 'latin1');
  systemUse.copy(record, fixedBytes);
  return record;
}

/** `SP`, in the first record of the root: it announces entries such as `NM` behind each identifier. */
const sharingProtocol = Buffer.from([0x53, 0x50, 7, 1, 0xbe, 0xef, 0]);

function alternateName(name: string): Buffer {
  const text = Buffer.from(name);
  return Buffer.concat([Buffer.from([0x4e, 0x4d, 5 + text.length, 1, 0]), text]);
}

/** The primary volume descriptor (ECMA-119 8.4) and the one that ends the set. */
function descriptors(root: Folder, sectors: number): Buffer {
  const both = Buffer.alloc(2 * sectorBytes);
  both.write('\x01CD001\x01', 0, 'latin1');
  both.fill(' ', 8, 72);
  both.write('IMAGEBUILDER', 40, 'latin1');
  writeBothEndian32(both, sectors, 80);
  writeBothEndian16(both, 1, 120); // volumes in the set
  writeBothEndian16(both, 1, 124); // this one's number
  writeBothEndian16(both, sectorBytes, 128);
  directoryRecord(root, '\0', Buffer.alloc(0)).copy(both, 156);
  both.fill(' ', 190, 813);
  both.writeUInt8(1, 881); // version of this structure
  both.write('\xffCD001\x01', sectorBytes, 'latin1');
  return both;
}

function writeBothEndian32(buffer: Buffer, value: number, offset: number): void {
  buffer.writeUInt32LE(value, offset);
  buffer.writeUInt32BE(value, offset + 4);
}

function writeBothEndian16(buffer: Buffer, value: number, offset: number): void {
  buffer.writeUInt16LE(value, offset);
  buffer.writeUInt16BE(value, offset + 2);
}

async function copy(
  path: string,
  target: FileHandle,
  position: number,
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  await using source = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const buffer = Buffer.allocUnsafe(Math.min(copyBytes, sizeBytes));
  for (let done = 0; done < sizeBytes; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, sizeBytes - done), done);
    if (bytesRead === 0) throw new ImageBuilderError('internal', `${path} has become shorter meanwhile`);
    await writeAll(target, buffer.subarray(0, bytesRead), position + done);
    done += bytesRead;
  }
}
