import { crc32 } from 'node:zlib';
import type { Disk } from '#lib/image/disk.ts';
import { rawDisk } from '#lib/image/disk.ts';

export interface CraftedEntry {
  readonly type: string;
  readonly uuid?: string;
  readonly first: bigint;
  readonly last: bigint;
  readonly name?: string;
}

export const linuxData = '0fc63daf-8483-4772-8e79-3d69d8477de4';

/** A disk in memory. */
export function memoryDisk(bytes: Buffer): Disk {
  const handle = {
    async read(target: Buffer, offset: number, length: number, position: number) {
      return { bytesRead: bytes.copy(target, offset, position, position + length), buffer: target };
    },
  };
  return rawDisk(handle as unknown as Parameters<typeof rawDisk>[0], bytes.length);
}

/** A disk with a GPT, primary and backup, after UEFI 2.10 section 5.3. */
export function craftGpt(
  entries: readonly CraftedEntry[],
  options: { sectorBytes?: number; sectors?: number; claimedEntries?: number } = {},
): Buffer {
  const { sectorBytes = 512, sectors = 4096, claimedEntries = 128 } = options;
  const disk = Buffer.alloc(sectors * sectorBytes);
  writeMbr(disk, 0, [{ type: 0xee, first: 1, sectors: sectors - 1 }]);
  const table = Buffer.alloc(128 * Math.max(128, Math.ceil(entries.length / 32) * 32));
  for (const [index, entry] of entries.entries()) {
    writeGuid(table, index * 128, entry.type);
    writeGuid(table, index * 128 + 16, entry.uuid ?? `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`);
    table.writeBigUInt64LE(entry.first, index * 128 + 32);
    table.writeBigUInt64LE(entry.last, index * 128 + 40);
    table.write(entry.name ?? '', index * 128 + 56, 'utf16le');
  }
  const tableSectors = table.length / sectorBytes;
  const last = sectors - 1;
  for (const [own, other, at] of [
    [1, last, 2],
    [last, 1, last - tableSectors],
  ] as const) {
    table.copy(disk, at * sectorBytes);
    const header = Buffer.alloc(92);
    header.write('EFI PART');
    header.writeUInt32LE(0x10000, 8);
    header.writeUInt32LE(92, 12);
    header.writeBigUInt64LE(BigInt(own), 24);
    header.writeBigUInt64LE(BigInt(other), 32);
    header.writeBigUInt64LE(BigInt(at), 72);
    header.writeUInt32LE(claimedEntries, 80);
    header.writeUInt32LE(128, 84);
    header.writeUInt32LE(crc32(table), 88);
    header.writeUInt32LE(crc32(header), 16);
    header.copy(disk, own * sectorBytes);
  }
  return disk;
}

/** Writes a boot record with up to four entries at a sector. */
export function writeMbr(
  disk: Buffer,
  sector: number,
  entries: readonly { type: number; first: number; sectors: number }[],
): void {
  const start = sector * 512;
  for (const [index, entry] of entries.entries()) {
    const at = start + 446 + index * 16;
    disk.writeUInt8(entry.type, at + 4);
    disk.writeUInt32LE(entry.first, at + 8);
    disk.writeUInt32LE(entry.sectors, at + 12);
  }
  disk.writeUInt16LE(0xaa55, start + 510);
}

function writeGuid(target: Buffer, offset: number, guid: string): void {
  const bytes = Buffer.from(guid.replaceAll('-', ''), 'hex');
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  bytes.copy(target, offset);
}
