/**
 * Leaves empty pages out of the saved state of a vm. QEMU notes each, and reads it again as it loads the state, to see
 * whether it is empty: that takes memory for all of the vm at once, and most of the time of a start. The memory of a vm that
 * has just started is empty.
 *
 * The form is that of QEMU's migration (docs/devel/migration in its sources, and migration/ram.c): a header, the name of
 * the machine, memory in sections of records, and the devices. What is not known is passed on as it is.
 */

/** The memory of the machine, by QEMU's name. Others, such as tables of the firmware, are not empty at the start. */
const memoryBlock = 'pc.ram';
const pageBytes = 4096;

const magic = 0x5145564d;
const formVersion = 3;
const sections = { start: 1, part: 2, end: 3, configuration: 7, footer: 0x7e };
/** In the lower bits of the word that opens a record; its other bits are an address inside the block. */
const flags = { empty: 0x02, sizes: 0x04, page: 0x08, endOfSection: 0x10, sameBlock: 0x20 };

/** The same state without the pages that a new vm has already. It may be cut into pieces anywhere. */
export async function* withoutEmptyPages(state: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const reader = createReader();
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of state) {
    const bytes = Buffer.concat([held, piece]);
    const kept: Buffer[] = [];
    let at = 0;
    for (let unit = reader.read(bytes); unit !== null; unit = reader.read(bytes.subarray(at))) {
      kept.push(...unit.kept);
      at += unit.bytes;
    }
    held = bytes.subarray(at);
    if (kept.length > 0) yield Buffer.concat(kept);
  }
  yield Buffer.concat([...reader.lastRecord(), held]);
}

/** A piece of the state that cannot be cut. */
interface Unit {
  readonly bytes: number;
  /** Stands in its place. */
  readonly kept: readonly Buffer[];
}

type Place = 'header' | 'sections' | 'memory' | 'rest';

function createReader() {
  let place: Place = 'header';
  let isLastPart = false;
  let memorySection: number | null = null;
  /** The block of the last record that was read, and of the last that was kept. */
  let block = '';
  let keptBlock = '';
  /** The last record, where it was left out. */
  let skipped: Buffer | null = null;
  /** Addresses in the memory that may have had content. */
  const filled = new Set<number>();

  /** Stands in front of what is passed on as it is: that may not name its block. */
  const lastRecord = () => {
    const records = skipped === null || block === keptBlock ? [] : [skipped];
    skipped = null;
    keptBlock = block;
    return records;
  };
  const whole = (cursor: Cursor): Unit => ({ bytes: cursor.at(), kept: [cursor.read()] });
  const rest = (bytes: Buffer): Unit | null => {
    place = 'rest';
    return bytes.length === 0 ? null : { bytes: bytes.length, kept: [...lastRecord(), bytes] };
  };

  function readHeader(cursor: Cursor): Unit | null {
    if (cursor.uint32() !== magic || cursor.uint32() !== formVersion) return null;
    place = 'sections';
    return whole(cursor);
  }

  function readSection(cursor: Cursor): Unit | null {
    const type = cursor.uint8();
    if (type === sections.configuration) {
      cursor.skip(cursor.uint32());
      return whole(cursor);
    }
    const section = cursor.uint32();
    if (type === sections.footer) return whole(cursor);
    if (type === sections.start) {
      if (cursor.name() !== 'ram') return null;
      cursor.skip(8);
      memorySection = section;
    } else if ((type !== sections.part && type !== sections.end) || section !== memorySection) return null;
    isLastPart = type === sections.end;
    place = 'memory';
    return whole(cursor);
  }

  function readRecord(cursor: Cursor): Unit | null {
    const { address, word } = cursor.word();
    if (word === flags.endOfSection) {
      place = isLastPart ? 'rest' : 'sections';
      return { bytes: cursor.at(), kept: [...lastRecord(), cursor.read()] };
    }
    if (word === flags.sizes) {
      for (let left = address; left > 0; ) {
        cursor.name();
        const { address: size, word } = cursor.word();
        if (word !== 0 || size === 0) return null;
        left -= size;
      }
      return whole(cursor);
    }
    const kind = word & ~flags.sameBlock;
    if (kind !== flags.empty && kind !== flags.page) return null;
    if (word === kind) block = cursor.name();
    const from = cursor.at();
    cursor.skip(kind === flags.page ? pageBytes : 1);
    const content = cursor.read().subarray(from);
    const opening = Buffer.alloc(8);
    opening.writeBigUInt64BE(BigInt(address));
    const named = (isSame: boolean) => {
      opening[7] = kind | (isSame ? flags.sameBlock : 0);
      const name = isSame ? [] : [Buffer.from([block.length]), Buffer.from(block, 'latin1')];
      return [opening, ...name, content];
    };
    if (kind === flags.empty && content[0] === 0 && block === memoryBlock && !filled.has(address)) {
      skipped = Buffer.concat(named(false));
      return { bytes: cursor.at(), kept: [] };
    }
    if (block === memoryBlock) filled.add(address);
    skipped = null;
    const isSame = block === keptBlock;
    keptBlock = block;
    return { bytes: cursor.at(), kept: named(isSame) };
  }

  return {
    /** The unit that the bytes begin with; null where they do not hold it whole. */
    read(bytes: Buffer): Unit | null {
      if (place === 'rest') return rest(bytes);
      const read = { header: readHeader, sections: readSection, memory: readRecord }[place];
      try {
        return read(openCursor(bytes)) ?? rest(bytes);
      } catch (error) {
        if (error instanceof RangeError) return null;
        throw error;
      }
    },
    lastRecord,
  };
}

type Cursor = ReturnType<typeof openCursor>;

/** Reads numbers and names from the beginning of the bytes. Throws a RangeError at their end. */
function openCursor(bytes: Buffer) {
  let at = 0;
  const skip = (count: number) => {
    if (at + count > bytes.length) throw new RangeError('more bytes are needed');
    at += count;
    return at - count;
  };
  const uint32 = () => bytes.readUInt32BE(skip(4));
  return {
    skip,
    uint32,
    uint8: () => bytes.readUInt8(skip(1)),
    name() {
      const length = bytes.readUInt8(skip(1));
      const start = skip(length);
      return bytes.toString('latin1', start, start + length);
    },
    /** The word that opens a record, or a size. */
    word() {
      const [high, low] = [uint32(), uint32()];
      const word = low % pageBytes;
      return { address: high * 2 ** 32 + low - word, word };
    },
    /** The number of bytes that were read. */
    at: () => at,
    read: () => bytes.subarray(0, at),
  };
}
