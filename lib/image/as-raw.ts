import { headBytes, recognise, tailBytes } from '../file-format.ts';
import type { Disk } from './disk.ts';

/** The format that a disk would be taken for as a raw file, which is known by its first and last bytes alone. */
export interface AsRaw {
  /** The other format that the file would be taken for, such as `a VMDK image`; null where there is none. */
  readonly takenFor: string | null;
  /** Why clouds that check partition tables may refuse it, in words; null where they have no reason. */
  readonly objection: string | null;
}

const protective = 0xee;

/** Looks at the ends of the disk. Throws as its `read`. */
export async function lookAsRaw(disk: Disk): Promise<AsRaw> {
  const head = await disk.read(0, Math.min(disk.sizeBytes, headBytes));
  const tail = await disk.read(
    disk.sizeBytes - Math.min(disk.sizeBytes, tailBytes),
    Math.min(disk.sizeBytes, tailBytes),
  );
  const { format, name } = recognise({ head, tail });
  return {
    takenFor: format === 'raw' || format === 'unknown' ? null : name,
    objection: head.length >= 512 && head.readUInt16LE(510) === 0xaa55 ? objectionTo(head) : null,
  };
}

/** The rules of OpenStack's oslo.utils (format_inspector.py) for a partition table in the first sector. */
function objectionTo(sector: Buffer): string | null {
  const entries = [446, 462, 478, 494].map((at) => ({
    boot: sector.readUInt8(at),
    start: sector.toString('hex', at + 1, at + 4),
    type: sector.readUInt8(at + 4),
    firstSector: sector.readUInt32LE(at + 8),
  }));
  if (entries.some(({ boot }) => boot !== 0 && boot !== 0x80)) return 'an entry of its MBR has an invalid boot flag';
  const isProtective = entries.map(({ type }) => type === protective);
  if (!isProtective.includes(true)) return null;
  if (entries.some(({ type }, index) => type !== 0 && index > 0))
    return 'the MBR before its GPT has further partitions';
  const [first] = entries;
  if (first?.firstSector !== 1 || first.start !== '000200') return 'the MBR before its GPT has an unusual beginning';
  return null;
}
