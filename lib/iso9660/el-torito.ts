import { blockBytes, corrupt, unsupported, type Volume } from './volume.ts';

/** The boot catalogue: "El Torito" Bootable CD-ROM Format Specification 1.0, with UEFI's platform id. */

/** One image that firmware can start. */
export interface BootEntry {
  readonly platform: 'bios' | 'uefi' | 'other';
  /** False for an entry that firmware passes over. */
  readonly bootable: boolean;
  /** The disk that the image pretends to be; `none` for all of today's. */
  readonly emulation: 'none' | 'floppy' | 'disk';
  readonly offsetBytes: number;
  /** Bytes that firmware loads; the image may be longer, and firmware of UEFI does not go by it. */
  readonly loadedBytes: number;
  readonly loadSegment: number;
}

const entryBytes = 32;
const sectorBytes = 512;
/** Real mode has no more memory. */
const maximumAddress = 2 ** 20;
const defaultSegment = 0x7c0;
const platforms: Readonly<Record<number, BootEntry['platform']>> = { 0: 'bios', 239: 'uefi' };
/** By the low half of the media type. */
const emulations: readonly BootEntry['emulation'][] = ['none', 'floppy', 'floppy', 'floppy', 'disk'];

/**
 * The entries of the catalogue in one block, in order. Throws `image.corrupt` for a catalogue or images outside the file,
 * a wrong checksum, and sections without an end.
 */
export async function readBootCatalogue({ disk }: Volume, block: number): Promise<BootEntry[]> {
  if (block === 0 || (block + 1) * blockBytes > disk.sizeBytes) {
    throw corrupt('its boot catalogue lies beyond the end of the file');
  }
  const catalogue = await disk.read(block * blockBytes, blockBytes);
  const platform = checkValidation(catalogue.subarray(0, entryBytes));
  const entries = [parseEntry(catalogue.subarray(entryBytes, 2 * entryBytes), platform, disk.sizeBytes)];
  for (let at = 2 * entryBytes; at < catalogue.length; ) {
    const header = catalogue.readUInt8(at);
    if (header === 0) return entries;
    if (header !== 0x90 && header !== 0x91) throw corrupt(`its boot catalogue has a section of type ${header}`);
    const sectionPlatform = catalogue.readUInt8(at + 1);
    const count = catalogue.readUInt16LE(at + 2);
    at += entryBytes;
    for (let index = 0; index < count; index++) {
      if (at >= catalogue.length) throw corrupt(`a section of its boot catalogue claims ${count} entries`);
      entries.push(parseEntry(catalogue.subarray(at, at + entryBytes), sectionPlatform, disk.sizeBytes));
      // Bit 5 announces extensions of the entry, of which the last has that bit clear.
      let goesOn = (catalogue.readUInt8(at + 1) & 0x20) !== 0;
      at += entryBytes;
      for (; goesOn && at < catalogue.length && catalogue.readUInt8(at) === 0x44; at += entryBytes) {
        goesOn = (catalogue.readUInt8(at + 1) & 0x20) !== 0;
      }
    }
    if (header === 0x91) return entries;
  }
  return entries;
}

/** Returns the platform of the first entry. */
function checkValidation(entry: Buffer): number {
  if (entry.readUInt8(0) !== 1 || entry.readUInt8(30) !== 0x55 || entry.readUInt8(31) !== 0xaa) {
    throw corrupt('its boot catalogue does not begin with a validation entry');
  }
  let sum = 0;
  for (let at = 0; at < entryBytes; at += 2) sum = (sum + entry.readUInt16LE(at)) & 0xffff;
  if (sum !== 0) throw corrupt('the checksum of its boot catalogue is wrong');
  return entry.readUInt8(1);
}

function parseEntry(entry: Buffer, platform: number, fileBytes: number): BootEntry {
  const indicator = entry.readUInt8(0);
  if (indicator !== 0x88 && indicator !== 0) throw corrupt(`its boot catalogue has an entry of type ${indicator}`);
  const emulation = emulations[entry.readUInt8(1) & 0x0f];
  if (emulation === undefined) throw unsupported('a boot image pretends to be a disk of no known type');
  const offsetBytes = entry.readUInt32LE(8) * blockBytes;
  const loadedBytes = entry.readUInt16LE(6) * sectorBytes;
  const loadSegment = entry.readUInt16LE(2);
  const bootable = indicator === 0x88;
  if (bootable && (offsetBytes === 0 || offsetBytes + Math.max(loadedBytes, sectorBytes) > fileBytes)) {
    throw corrupt('a boot image lies beyond the end of the file');
  }
  if (platform === 0 && (loadSegment || defaultSegment) * 16 + loadedBytes > maximumAddress) {
    throw corrupt('a boot image would be loaded beyond the memory of the BIOS');
  }
  return {
    ...{ platform: platforms[platform] ?? 'other', bootable, emulation },
    ...{ offsetBytes, loadedBytes, loadSegment },
  };
}
