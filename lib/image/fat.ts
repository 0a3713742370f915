import type { Disk } from './disk.ts';
import { tooLarge } from './features.ts';
import type { FileSystem } from './partition.ts';

/** FAT12, FAT16 and FAT32, after Microsoft's "FAT: General Overview of On-Disk Format" and the checks of libblkid. */

interface FatLayout {
  readonly bits: 12 | 16 | 32;
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  readonly fatOffset: number;
  readonly rootOffset: number;
  /** Bytes of the root folder where it has a fixed place (FAT12 and FAT16). */
  readonly rootBytes: number;
  readonly dataOffset: number;
  readonly rootCluster: number;
  readonly serial: number;
  readonly sizeBytes: number;
  /** Label in the boot sector. */
  readonly label: string;
}

const volumeLabelAttribute = 0x08;
const longNameAttributes = 0x0f;
const entryBytes = 32;
/** A folder has at most 65,536 entries. */
const maximumRootBytes = 65_536 * entryBytes;
/** Bytes read at a time: folders end where an entry begins with zero, mostly early. */
const pieceBytes = 32 * 1024;

/** The layout that a boot sector describes; null where it is not one of FAT. */
export function detectFat(sector: Buffer): FatLayout | null {
  if (sector.length < 512 || sector.readUInt16LE(510) !== 0xaa55) return null;
  const type = sector.toString('latin1', 54, 62);
  const type32 = sector.toString('latin1', 82, 90);
  const bits = type32.startsWith('FAT32') ? 32 : type.startsWith('FAT16') ? 16 : type.startsWith('FAT12') ? 12 : null;
  if (bits === null) return null;
  const sectorBytes = sector.readUInt16LE(11);
  const clusterSectors = sector.readUInt8(13);
  const reservedSectors = sector.readUInt16LE(14);
  const fats = sector.readUInt8(16);
  if (![512, 1024, 2048, 4096].includes(sectorBytes)) return null;
  if (clusterSectors === 0 || (clusterSectors & (clusterSectors - 1)) !== 0) return null;
  if (reservedSectors === 0 || fats === 0 || fats > 2 || sector.readUInt8(21) < 0xf0) return null;
  const fatSectors = bits === 32 ? sector.readUInt32LE(36) : sector.readUInt16LE(22);
  const rootBytes = sector.readUInt16LE(17) * entryBytes;
  const rootOffset = (reservedSectors + fats * fatSectors) * sectorBytes;
  const extended = bits === 32 ? 67 : 39;
  return {
    bits,
    sectorBytes,
    clusterBytes: clusterSectors * sectorBytes,
    fatOffset: reservedSectors * sectorBytes,
    rootOffset,
    rootBytes,
    dataOffset: rootOffset + Math.ceil(rootBytes / sectorBytes) * sectorBytes,
    rootCluster: bits === 32 ? sector.readUInt32LE(44) : 0,
    serial: sector.readUInt32LE(extended),
    sizeBytes: (sector.readUInt16LE(19) || sector.readUInt32LE(32)) * sectorBytes,
    label: sector.toString('latin1', extended + 4, extended + 15),
  };
}

/** Label and serial number of a FAT file system at `offset`; null where there is none. */
export async function readFat(disk: Disk, offset: number, sizeBytes: number): Promise<FileSystem | null> {
  const layout = detectFat(await disk.read(offset, 512));
  if (layout === null) return null;
  const serial = layout.serial.toString(16).padStart(8, '0').toUpperCase();
  const label = (await rootLabel(disk, offset, sizeBytes, layout)) ?? layout.label;
  const fault = tooLarge(layout.sizeBytes, sizeBytes);
  return {
    type: 'vfat',
    label: /^(NO NAME)?\s*$/.test(label) ? null : label.trimEnd(),
    uuid: layout.serial === 0 ? null : `${serial.slice(0, 4)}-${serial.slice(4)}`,
    ...(fault === undefined ? {} : { fault }),
  };
}

/** The label in the root folder, which wins over the one in the boot sector. */
async function rootLabel(disk: Disk, offset: number, sizeBytes: number, layout: FatLayout): Promise<string | null> {
  const inside = (start: number, length: number) => start + length <= sizeBytes;
  if (layout.bits !== 32) {
    if (!inside(layout.rootOffset, layout.rootBytes)) return null;
    return await findLabel(disk, offset + layout.rootOffset, layout.rootBytes);
  }
  let cluster = layout.rootCluster;
  const seen = new Set<number>();
  while (cluster >= 2 && cluster < 0x0ffffff0 && !seen.has(cluster)) {
    if (seen.size * layout.clusterBytes >= maximumRootBytes) return null;
    seen.add(cluster);
    const start = layout.dataOffset + (cluster - 2) * layout.clusterBytes;
    const next = layout.fatOffset + cluster * 4;
    if (!inside(start, layout.clusterBytes) || !inside(next, 4)) return null;
    const label = await findLabel(disk, offset + start, layout.clusterBytes);
    if (label !== null) return label;
    cluster = (await disk.read(offset + next, 4)).readUInt32LE(0) & 0x0fffffff;
  }
  return null;
}

/** The label in a part of a folder; null where it has none. */
async function findLabel(disk: Disk, offset: number, sizeBytes: number): Promise<string | null> {
  for (let done = 0; done < sizeBytes; done += pieceBytes) {
    const folder = await disk.read(offset + done, Math.min(pieceBytes, sizeBytes - done));
    for (let at = 0; at + entryBytes <= folder.length; at += entryBytes) {
      const first = folder.readUInt8(at);
      if (first === 0) return null;
      const attributes = folder.readUInt8(at + 11);
      const isLabel = (attributes & (volumeLabelAttribute | 0x10)) === volumeLabelAttribute;
      if (first !== 0xe5 && attributes !== longNameAttributes && isLabel) return folder.toString('latin1', at, at + 11);
    }
  }
  return null;
}
