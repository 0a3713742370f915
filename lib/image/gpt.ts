import { crc32 } from 'node:zlib';
import { ImageBuilderError } from '../errors.ts';
import { upTo } from '../text.ts';
import type { Disk } from './disk.ts';
import type { TableEntry } from './partition.ts';
import { readLittle } from './read-at.ts';

/** GUID partition tables, UEFI specification 2.10, section 5.3. */

const signature = 'EFI PART';
const minimumHeaderBytes = 92;
const minimumEntryBytes = 128;
/** 128 entries are usual; a table that claims more than this many is not genuine. */
const maximumEntries = 1024;
const maximumEntryBytes = 4096;

interface Header {
  readonly entriesSector: number;
  readonly entries: number;
  readonly entryBytes: number;
  readonly entriesCrc: number;
}

/**
 * The partitions of the GPT for sectors of `sectorBytes`, from the backup at the end of the disk where the primary
 * table is damaged; null where there is no GPT. `firstSector` is the lowest at which a partition may begin. Throws
 * `image.corrupt` where there is a GPT but both copies are damaged.
 */
export async function readGpt(
  disk: Disk,
  sectorBytes: number,
  firstSector: 0 | 1 = 1,
): Promise<readonly TableEntry[] | null> {
  const sectors = Math.floor(disk.sizeBytes / sectorBytes);
  if (sectors < 3) return null;
  const primary = await readCopy(disk, 1, sectorBytes, firstSector);
  if (Array.isArray(primary)) return primary;
  const backup = await readCopy(disk, sectors - 1, sectorBytes, firstSector);
  if (Array.isArray(backup)) return backup;
  if (primary === null && backup === null) return null;
  throw new ImageBuilderError(
    'image.corrupt',
    `the partition table (GPT) is damaged: ${primary ?? 'the primary is missing'}; backup: ${backup ?? 'missing'}`,
  );
}

/** Reads one copy of the table: returns its partitions, or what is wrong with it, or null where none is there. */
async function readCopy(
  disk: Disk,
  sector: number,
  sectorBytes: number,
  firstSector: number,
): Promise<TableEntry[] | string | null> {
  const block = await disk.read(sector * sectorBytes, sectorBytes);
  if (block.toString('latin1', 0, 8) !== signature) return null;
  const header = parseHeader(block, sector);
  if (typeof header === 'string') return header;
  const offset = header.entriesSector * sectorBytes;
  const length = header.entries * header.entryBytes;
  if (offset + length > disk.sizeBytes) return 'its entries lie beyond the end of the disk';
  const table = await disk.read(offset, length);
  if (crc32(table) !== header.entriesCrc) return 'the checksum of its entries is wrong';
  return parseEntries(table, header.entryBytes, sectorBytes, firstSector);
}

function parseHeader(block: Buffer, sector: number): Header | string {
  const headerBytes = block.readUInt32LE(12);
  if (headerBytes < minimumHeaderBytes || headerBytes > block.length) return `its header claims ${headerBytes} bytes`;
  const checked = Buffer.from(block.subarray(0, headerBytes));
  checked.writeUInt32LE(0, 16);
  if (crc32(checked) !== block.readUInt32LE(16)) return 'the checksum of its header is wrong';
  if (readLittle(block, 24) !== sector) return 'its header says that it is in another place';
  const entries = block.readUInt32LE(80);
  const entryBytes = block.readUInt32LE(84);
  if (entries > maximumEntries) return `it claims ${entries} entries`;
  if (entryBytes < minimumEntryBytes || entryBytes > maximumEntryBytes || entryBytes % 8 !== 0) {
    return `it claims entries of ${entryBytes} bytes`;
  }
  return {
    entriesSector: readLittle(block, 72),
    entries,
    entryBytes,
    entriesCrc: block.readUInt32LE(88),
  };
}

function parseEntries(
  table: Buffer,
  entryBytes: number,
  sectorBytes: number,
  firstSector: number,
): TableEntry[] | string {
  const partitions: TableEntry[] = [];
  for (let index = 0; (index + 1) * entryBytes <= table.length; index++) {
    const entry = table.subarray(index * entryBytes, (index + 1) * entryBytes);
    const type = readGuid(entry, 0);
    if (type === unusedType) continue;
    const first = readLittle(entry, 32);
    const last = readLittle(entry, 40);
    if (!Number.isSafeInteger((last + 1) * sectorBytes)) return `partition ${index + 1} has no possible end`;
    if (first < firstSector) return `partition ${index + 1} begins at the start of the disk`;
    if (first > last) return `partition ${index + 1} ends before it begins`;
    const name = upTo(entry.toString('utf16le', 56, 128), '\0');
    partitions.push({
      number: index + 1,
      offsetBytes: first * sectorBytes,
      sizeBytes: (last - first + 1) * sectorBytes,
      type,
      name: name === '' ? null : name,
      partitionUuid: readGuid(entry, 16),
      ...((entry.readUInt8(55) & noAutoBit) === 0 ? {} : { noAuto: true }),
    });
  }
  return partitions;
}

/** Bit 63 of the attributes, by the Discoverable Partitions Specification. */
const noAutoBit = 0x80;
const unusedType = '00000000-0000-0000-0000-000000000000';

/** A GUID as it is written: its first three fields are little-endian. */
function readGuid(buffer: Buffer, offset: number): string {
  const hex = (...bytes: number[]) => bytes.map((at) => buffer.toString('hex', offset + at, offset + at + 1)).join('');
  return [hex(3, 2, 1, 0), hex(5, 4), hex(7, 6), hex(8, 9), hex(10, 11, 12, 13, 14, 15)].join('-');
}
