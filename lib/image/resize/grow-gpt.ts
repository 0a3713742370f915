import { crc32 } from 'node:zlib';
import { ImageBuilderError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import type { TableEntry } from '../partition.ts';
import { readLittle } from '../read-at.ts';
import type { Patch } from './patch.ts';

/** Moves the end of a GPT to that of a larger disk (UEFI specification 2.10, section 5.3), with its last partition. */

const signature = 'EFI PART';
const headerCrcOffset = 16;
const largestMbrNumber = 0xffffffff;
const mbrEntry = 446;

/** The patches, and the new size of the partition. `disk` is the disk as it is now, whose GPT `readGpt` has checked. */
export async function growGpt(
  disk: Disk,
  newSizeBytes: number,
  { number, offsetBytes }: TableEntry,
): Promise<{ readonly patches: readonly Patch[]; readonly sizeBytes: number }> {
  const sectorBytes = await sectorSize(disk);
  const header = await disk.read(sectorBytes, sectorBytes);
  const headerBytes = header.readUInt32LE(12);
  const entryBytes = header.readUInt32LE(84);
  const tableOffset = readLittle(header, 72) * sectorBytes;
  const table = await disk.read(tableOffset, header.readUInt32LE(80) * entryBytes);
  const tableSectors = Math.ceil(table.length / sectorBytes);
  const sectors = Math.floor(newSizeBytes / sectorBytes);
  const lastUsable = sectors - 2 - tableSectors;
  // Whole blocks of 4 KiB, as file systems want them.
  const blockSectors = 4096 / sectorBytes;
  const first = offsetBytes / sectorBytes;
  const last = first + Math.floor((lastUsable + 1 - first) / blockSectors) * blockSectors - 1;
  table.writeBigUInt64LE(BigInt(last), (number - 1) * entryBytes + 40);

  const write = (place: { readonly own: number; readonly other: number; readonly entries: number }): Buffer => {
    const copy = Buffer.from(header);
    copy.writeBigUInt64LE(BigInt(place.own), 24);
    copy.writeBigUInt64LE(BigInt(place.other), 32);
    copy.writeBigUInt64LE(BigInt(lastUsable), 48);
    copy.writeBigUInt64LE(BigInt(place.entries), 72);
    copy.writeUInt32LE(crc32(table), 88);
    copy.writeUInt32LE(0, headerCrcOffset);
    copy.writeUInt32LE(crc32(copy.subarray(0, headerBytes)), headerCrcOffset);
    return copy;
  };
  const oldEnd = Math.floor(disk.sizeBytes / sectorBytes) - 1 - tableSectors;
  const protective = await disk.read(0, sectorBytes);
  growProtective(protective, sectors);
  const backupTable = Buffer.alloc(tableSectors * sectorBytes);
  table.copy(backupTable);
  return {
    sizeBytes: (last - first + 1) * sectorBytes,
    patches: [
      { offset: 0, bytes: protective },
      { offset: sectorBytes, bytes: write({ own: 1, other: sectors - 1, entries: tableOffset / sectorBytes }) },
      { offset: tableOffset, bytes: table },
      // The old backup would lie within the partition, and be found there by tools that look for lost tables.
      { offset: oldEnd * sectorBytes, bytes: Buffer.alloc((tableSectors + 1) * sectorBytes) },
      { offset: (lastUsable + 1) * sectorBytes, bytes: backupTable },
      {
        offset: (sectors - 1) * sectorBytes,
        bytes: write({ own: sectors - 1, other: 1, entries: lastUsable + 1 }),
      },
    ],
  };
}

async function sectorSize(disk: Disk): Promise<number> {
  for (const bytes of [512, 4096]) {
    if ((await disk.read(bytes, 8)).toString('latin1') === signature) return bytes;
  }
  throw new ImageBuilderError(
    'image.unsupported',
    'the primary partition table (GPT) is damaged, so the disk cannot be made larger',
  );
}

/** The protective entry covers the disk, as far as its 32 bits reach. */
function growProtective(sector: Buffer, sectors: number): void {
  for (let at = mbrEntry; at < 510; at += 16) {
    if (sector.readUInt8(at + 4) === 0xee && sector.readUInt32LE(at + 8) === 1) {
      sector.writeUInt32LE(Math.min(sectors - 1, largestMbrNumber), at + 12);
    }
  }
}
