import { readText } from '../image/read-at.ts';
import { decompressLzma } from './lzma.ts';

/**
 * The modules inside a boot loader that grub-mkimage has made: GRUB's include/grub/kernel.h (`struct
 * grub_module_info`), and grub-core/kern/i386/pc/startup_raw.S for the core image of BIOS.
 */
export interface GrubImage {
  readonly modules: ReadonlySet<string>;
  /** The folder of its other modules and of grub.cfg, such as `(,gpt1)/boot/grub`; null where it has none. */
  readonly prefix: string | null;
  /** Commands that it runs first; empty where it has none. */
  readonly configuration: string;
}

const types = { elf: 0, configuration: 2, prefix: 3 };
/** A loader has one area of modules. Each `mimg` in its bytes is tried, as far as they are so few. */
const maximumAreas = 64;
const maximumModules = 1000;

/** The modules in the memory of a loader; null where it is not one of GRUB. */
export function parseGrubImage(memory: Buffer, bits: 32 | 64): GrubImage | null {
  for (let at = memory.indexOf('mimg'), tries = 0; at >= 0 && tries < maximumAreas; tries++) {
    const image = parseArea(memory, at, bits);
    if (image !== null) return image;
    at = memory.indexOf('mimg', at + 4);
  }
  return null;
}

function parseArea(memory: Buffer, at: number, bits: 32 | 64): GrubImage | null {
  if (at + 24 > memory.length) return null;
  const [offset, sizeBytes] =
    bits === 64
      ? [Number(memory.readBigUInt64LE(at + 8)), Number(memory.readBigUInt64LE(at + 16))]
      : [memory.readUInt32LE(at + 4), memory.readUInt32LE(at + 8)];
  if (offset < 8 || offset > 64 || sizeBytes > memory.length) return null;
  const modules = new Set<string>();
  let prefix: string | null = null;
  let configuration = '';
  const end = Math.min(at + sizeBytes, memory.length);
  for (let place = at + offset, count = 0; place + 8 <= end && count < maximumModules; count++) {
    const type = memory.readUInt32LE(place);
    const length = memory.readUInt32LE(place + 4);
    if (length < 8 || place + length > memory.length) break;
    const content = memory.subarray(place + 8, place + length);
    if (type === types.elf) modules.add(moduleName(content) ?? '');
    if (type === types.prefix) prefix = readText(content, 0, content.length);
    if (type === types.configuration) configuration = readText(content, 0, content.length) ?? '';
    place += length;
  }
  modules.delete('');
  return modules.size === 0 ? null : { modules, prefix, configuration };
}

/** The text of the section `.modname` of an ELF file; null where it has none. */
function moduleName(elf: Buffer): string | null {
  try {
    const isWide = elf.readUInt8(4) === 2;
    const table = isWide ? Number(elf.readBigUInt64LE(40)) : elf.readUInt32LE(32);
    const [entryBytes, count, namesIndex] = [0, 2, 4].map((more) => elf.readUInt16LE((isWide ? 58 : 46) + more));
    const section = (index: number) => {
      const start = table + index * (entryBytes ?? 0);
      return {
        name: elf.readUInt32LE(start),
        offset: isWide ? Number(elf.readBigUInt64LE(start + 24)) : elf.readUInt32LE(start + 16),
        sizeBytes: isWide ? Number(elf.readBigUInt64LE(start + 32)) : elf.readUInt32LE(start + 20),
      };
    };
    const names = section(namesIndex ?? 0).offset;
    for (let index = 0; index < Math.min(count ?? 0, 100); index++) {
      const { name, offset, sizeBytes } = section(index);
      if (readText(elf, names + name, 9) === '.modname') return readText(elf, offset, Math.min(sizeBytes, 100));
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return null;
}

/** Sector of the core image, as the boot sector of GRUB for BIOS names it; null for another boot sector. */
export function coreSector(bootSector: Buffer): number | null {
  if (bootSector.length < 512 || bootSector.readUInt16LE(510) !== 0xaa55) return null;
  if (!bootSector.subarray(0, 440).includes('GRUB')) return null;
  const sector = Number(bootSector.readBigUInt64LE(0x5c));
  return Number.isSafeInteger(sector * 512) ? sector : null;
}

/** Largest core image: the gap before the first partition, or the BIOS boot partition, has a few megabytes at most. */
export const maximumCoreBytes = 2 ** 20;
const properties = { literalContextBits: 3, literalPositionBits: 0, positionBits: 2 };
/** The decompressor lies before the packed part, with another size in each version. */
const packedFrom = 512 + 1024;
const packedTo = 512 + 8192;
const maximumUnpackedBytes = 2 * 2 ** 20;
/** Bytes that are decompressed at a possible beginning: data from a wrong place soon contradicts itself. */
const glanceBytes = 256;
const lookBytes = 32 * 1024;
/** Most beginnings that get the longer look. */
const maximumLooks = 64;

/** The modules of a core image, of which `core` is the beginning; null where it is not one of GRUB. */
export function parseCoreImage(core: Buffer): GrubImage | null {
  if (core.length < packedTo) return null;
  const packedBytes = core.readUInt32LE(512 + 8);
  const sizeBytes = core.readUInt32LE(512 + 12);
  if (
    packedBytes === 0 ||
    packedBytes > maximumCoreBytes ||
    sizeBytes < packedBytes ||
    sizeBytes > maximumUnpackedBytes
  ) {
    return null;
  }
  for (let at = packedFrom, looks = 0; at < packedTo && looks < maximumLooks; at++) {
    if (core[at] !== 0) continue;
    const packed = core.subarray(at, at + packedBytes);
    if (decompressLzma(packed, Math.min(sizeBytes, glanceBytes), properties) === null) continue;
    looks += 1;
    if (decompressLzma(packed, Math.min(sizeBytes, lookBytes), properties) === null) continue;
    looks += maximumLooks / 4;
    const memory = decompressLzma(packed, sizeBytes, properties);
    const image = memory === null ? null : parseGrubImage(memory, 32);
    if (image !== null) return image;
  }
  return null;
}
