/**
 * Reads the names in an initial ramdisk: cpio archives in the "newc" form, one behind the other, with zeros between them
 * (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
 */
export interface CpioReader {
  /** Takes the next bytes. */
  push(chunk: Buffer): void;
  /** The place of the first bytes that are no archive, such as those of a compressed one; null where there are none. */
  readonly foreignAt: number | null;
  /** True where there is an archive, and each one has its end. */
  readonly whole: boolean;
}

const headerBytes = 110;
/** The files whose content is wanted, by their names. Larger ones than `maximumBytes` are passed over. */
export interface WantedFiles {
  readonly maximumBytes: number;
  isWanted(name: string): boolean;
  /** Called for each such file, in the order of the archives: the last one of a name counts. */
  onFile(name: string, content: Buffer): void;
}

/** Longer names are refused by the kernel, too (PATH_MAX). */
const maximumNameBytes = 4096;
const lastName = 'TRAILER!!!';

/**
 * `onName` is called with the name of each file and folder. Work and memory do not depend on the files' sizes, but for
 * those that are wanted.
 */
export function createCpioReader(onName: (name: string) => void, wanted: WantedFiles | null = null): CpioReader {
  let held: Buffer = Buffer.alloc(0);
  /** Place of the first byte of `held`. */
  let place = 0;
  /** Bytes of content that are still to be passed over. */
  let toSkip = 0;
  /** The wanted file that these bytes begin with, as far as it was read; null where they are passed over. */
  let file: { readonly name: string; readonly parts: Buffer[]; left: number } | null = null;
  let inArchive = false;
  let archives = 0;
  let foreignAt: number | null = null;

  const drop = (bytes: number) => {
    held = held.subarray(bytes);
    place += bytes;
  };
  const keep = (bytes: number) => {
    if (file === null) return;
    const part = Buffer.from(held.subarray(0, Math.min(bytes, file.left)));
    file.parts.push(part);
    file.left -= part.length;
    if (file.left > 0) return;
    wanted?.onFile(file.name, Buffer.concat(file.parts));
    file = null;
  };
  /** False where more bytes are needed. */
  const step = (): boolean => {
    if (toSkip > 0) {
      const bytes = Math.min(toSkip, held.length);
      keep(bytes);
      drop(bytes);
      toSkip -= bytes;
      return toSkip === 0;
    }
    if (!inArchive) {
      let zeros = 0;
      while (zeros < held.length && held[zeros] === 0) zeros += 1;
      drop(zeros);
    }
    if (held.length === 0) return false;
    const magic = held.toString('latin1', 0, 6);
    if (!'070701'.startsWith(magic) && !'070702'.startsWith(magic)) {
      foreignAt = place;
      return false;
    }
    if (held.length < headerBytes) return false;
    const sizeBytes = hexadecimal(held, 54);
    const nameBytes = hexadecimal(held, 94);
    if (sizeBytes === null || nameBytes === null || nameBytes === 0 || nameBytes > maximumNameBytes) {
      foreignAt = place;
      return false;
    }
    const end = aligned(headerBytes + nameBytes);
    if (held.length < end) return false;
    const name = held.toString('utf8', headerBytes, headerBytes + nameBytes - 1);
    drop(end);
    inArchive = name !== lastName;
    if (inArchive) onName(name);
    else archives += 1;
    toSkip = aligned(sizeBytes);
    if (inArchive && wanted?.isWanted(name) && sizeBytes <= wanted.maximumBytes) {
      file = { name, parts: [], left: sizeBytes };
      if (sizeBytes === 0) keep(0);
    }
    return true;
  };

  return {
    push(chunk) {
      if (foreignAt !== null) return;
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      while (held.length > 0 && step()) {
        // The next entry may be in the same bytes.
      }
    },
    get foreignAt() {
      return foreignAt;
    },
    get whole() {
      return archives > 0 && !inArchive && toSkip === 0 && (held.length === 0 || foreignAt !== null);
    },
  };
}

/** Every header, and every content, begins at a multiple of four. */
function aligned(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

function hexadecimal(bytes: Buffer, start: number): number | null {
  const text = bytes.toString('latin1', start, start + 8);
  return /^[0-9a-fA-F]{8}$/.test(text) ? Number.parseInt(text, 16) : null;
}
