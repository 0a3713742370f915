import { ImageBuilderError } from '../errors.ts';
import type { Disk } from '../image/disk.ts';
import { upTo } from '../text.ts';
import { type DirectoryRecord, parseRecord } from './record.ts';
import { blockBytes, corrupt, readBoth16, readBoth32, unsupported } from './volume.ts';

/** Volume descriptors, ECMA-119 section 8, and the boot record of "El Torito" 1.0. */

/** The descriptor of one tree of files. */
export interface VolumeDescriptor {
  /**
   * - `primary`: names of ISO 9660, or those of Rock Ridge.
   * - `joliet`: names in UCS-2.
   * - `enhanced`: ISO 9660:1999, names of up to 207 bytes.
   */
  readonly tree: 'primary' | 'joliet' | 'enhanced';
  readonly volumeId: string;
  readonly sizeBytes: number;
  readonly root: DirectoryRecord;
  /** Sixteen digits and an offset from UTC, as ECMA-119 section 8.4.26.1 has it; null where it is not given. */
  readonly createdAt: string | null;
  readonly modifiedAt: string | null;
}

export interface Descriptors {
  readonly primary: VolumeDescriptor;
  readonly others: readonly VolumeDescriptor[];
  /** Block of El Torito's catalogue; null where the medium has none. */
  readonly bootCatalogue: number | null;
}

const firstBlock = 16;
const maximumDescriptors = 16;
const identifier = 'CD001';
const bootSystem = 'EL TORITO SPECIFICATION';
/** The escape sequences for UCS-2 of levels 1 to 3. */
const jolietEscapes: readonly string[] = ['%/@', '%/C', '%/E'];

/**
 * The descriptors of the volume on `disk`. Throws `image.truncated` where the file ends before the volume,
 * `image.unsupported` for descriptors and features that nobody needs, and `image.corrupt`.
 */
export async function readDescriptors(disk: Disk): Promise<Descriptors> {
  const trees: VolumeDescriptor[] = [];
  let bootCatalogue: number | null = null;
  for (const block of await readBlocks(disk)) {
    const type = block.readUInt8(0);
    if (type === 0) {
      if (upTo(block.toString('latin1', 7, 39), '\0').trimEnd() !== bootSystem) continue;
      if (bootCatalogue !== null) throw unsupported('it has two boot catalogues');
      bootCatalogue = block.readUInt32LE(71);
      continue;
    }
    if (type !== 1 && type !== 2) throw unsupported(`it has a volume descriptor of type ${type}`);
    const descriptor = parseDescriptor(block, type === 1 ? 'primary' : supplementaryTree(block));
    const { tree, sizeBytes } = descriptor;
    if (trees.some((other) => other.tree === tree)) throw unsupported(`it has two ${tree} volume descriptors`);
    if (sizeBytes > disk.sizeBytes) throw beyondFile(tree, sizeBytes, disk);
    trees.push(descriptor);
  }
  const primary = trees.find(({ tree }) => tree === 'primary');
  if (primary === undefined) throw corrupt('it has no primary volume descriptor');
  return { primary, others: trees.filter((tree) => tree !== primary), bootCatalogue };
}

/** The blocks of all descriptors but the last, which only ends them. */
async function readBlocks(disk: Disk): Promise<Buffer[]> {
  const blocks: Buffer[] = [];
  for (;;) {
    const place = firstBlock + blocks.length;
    const block = await readBlock(disk, place);
    if (block.toString('latin1', 1, 6) !== identifier) {
      throw corrupt(place === firstBlock ? `sector ${place} is no volume descriptor` : 'its descriptors have no end');
    }
    if (block.readUInt8(0) === 255) {
      await refuseUdf(disk, place + 1);
      return blocks;
    }
    blocks.push(block);
    if (blocks.length === maximumDescriptors) throw corrupt(`it has more than ${maximumDescriptors} descriptors`);
  }
}

function beyondFile(tree: string, sizeBytes: number, disk: Disk): ImageBuilderError {
  return new ImageBuilderError(
    'image.truncated',
    `the ${tree} volume descriptor of the ISO 9660 image announces ${sizeBytes} bytes, and the file has ${disk.sizeBytes}`,
  );
}

async function readBlock(disk: Disk, block: number): Promise<Buffer> {
  if ((block + 1) * blockBytes > disk.sizeBytes) {
    throw new ImageBuilderError(
      'image.truncated',
      `the ISO 9660 image ends within its volume descriptors, at byte ${disk.sizeBytes}`,
    );
  }
  return await disk.read(block * blockBytes, blockBytes);
}

/** A second file system over the same files, UDF (ECMA-167, part 2), would go on to show the old ones. */
async function refuseUdf(disk: Disk, block: number): Promise<void> {
  for (let next = block; next < block + 3 && (next + 1) * blockBytes <= disk.sizeBytes; next++) {
    const name = (await disk.read(next * blockBytes, 6)).toString('latin1', 1, 6);
    if (name === 'NSR02' || name === 'NSR03') throw unsupported('it is a UDF file system as well');
  }
}

function supplementaryTree(block: Buffer): 'joliet' | 'enhanced' {
  if (block.readUInt8(6) === 2) return 'enhanced';
  if (jolietEscapes.includes(upTo(block.toString('latin1', 88, 120), '\0').trimEnd())) return 'joliet';
  throw unsupported('it has a tree in a character set that is not known here');
}

function parseDescriptor(block: Buffer, tree: VolumeDescriptor['tree']): VolumeDescriptor {
  const logicalBlockBytes = readBoth16(block, 128, `the block size of the ${tree} volume descriptor`);
  if (logicalBlockBytes !== blockBytes)
    throw unsupported(`its blocks have ${logicalBlockBytes} bytes, not ${blockBytes}`);
  if (readBoth16(block, 120, 'the number of its volumes') > 1) throw unsupported('it is one of several volumes');
  readBoth32(block, 132, `the path table's size of the ${tree} volume descriptor`);
  const root = parseRecord(block.subarray(156, 190), 0);
  if (!root.isFolder) throw corrupt(`the root of its ${tree} tree is no folder`);
  return {
    tree,
    volumeId: volumeIdOf(block.subarray(40, 72), tree),
    sizeBytes: readBoth32(block, 80, `the size of the ${tree} volume`) * blockBytes,
    root,
    createdAt: dateOf(block, 813),
    modifiedAt: dateOf(block, 830),
  };
}

function volumeIdOf(bytes: Buffer, tree: VolumeDescriptor['tree']): string {
  const text = tree === 'joliet' ? Buffer.from(bytes).swap16().toString('utf16le') : bytes.toString('latin1');
  return upTo(text, '\0').trimEnd();
}

/** Null for a date that is not given (zeros) or that has no digits. */
function dateOf(block: Buffer, offset: number): string | null {
  const digits = block.toString('latin1', offset, offset + 16);
  if (!/^[0-9]{16}$/.test(digits) || digits === '0'.repeat(16)) return null;
  return `${digits}${block.readInt8(offset + 16)}`;
}
