import { blockBytes, corrupt, type Extent, readBoth16, readBoth32, unsupported } from './volume.ts';

/** Directory records, ECMA-119 section 9.1. */

export interface DirectoryRecord {
  /** Bytes that the record takes in its folder. */
  readonly lengthBytes: number;
  readonly extent: Extent;
  readonly isFolder: boolean;
  /** True where the next record goes on with the same file. */
  readonly hasMore: boolean;
  /** The name as it is stored; a zero byte for the folder itself, a one for the folder above. */
  readonly identifier: Buffer;
  /** The part for extensions such as Rock Ridge. */
  readonly systemUse: Buffer;
}

const fixedBytes = 33;
const folderFlag = 0x02;
/** Apple's second half of a file (`associated`). */
const associatedFlag = 0x04;
const moreFlag = 0x80;

/**
 * The record at `at` of a folder's block, or of a descriptor. Throws `image.corrupt` where it does not fit into
 * `bytes`, `image.unsupported` for files that are interleaved, have two halves or lie on other volumes.
 */
export function parseRecord(bytes: Buffer, at: number): DirectoryRecord {
  const lengthBytes = bytes.readUInt8(at);
  if (lengthBytes < fixedBytes + 1 || at + lengthBytes > bytes.length) {
    throw corrupt(`a directory record claims ${lengthBytes} bytes where ${bytes.length - at} are left of its block`);
  }
  const record = bytes.subarray(at, at + lengthBytes);
  const nameBytes = record.readUInt8(32);
  // A record begins at an even byte: a name of even length has a byte behind it.
  const systemUseAt = fixedBytes + nameBytes + ((nameBytes + 1) & 1);
  if (nameBytes === 0 || fixedBytes + nameBytes > lengthBytes) {
    throw corrupt(`a directory record of ${lengthBytes} bytes claims a name of ${nameBytes}`);
  }
  const flags = record.readUInt8(25);
  if ((flags & associatedFlag) !== 0) throw unsupported('it has associated files, as Apple made them');
  if (record.readUInt8(1) !== 0) throw unsupported('it has files with extended attribute records');
  if (record.readUInt8(26) !== 0 || record.readUInt8(27) !== 0) throw unsupported('it has interleaved files');
  if (readBoth16(record, 28, 'the volume of a file') > 1) throw unsupported('it has files that lie on another volume');
  return {
    lengthBytes,
    extent: {
      offsetBytes: readBoth32(record, 2, 'the place of a file') * blockBytes,
      sizeBytes: readBoth32(record, 10, 'the size of a file'),
    },
    isFolder: (flags & folderFlag) !== 0,
    hasMore: (flags & moreFlag) !== 0,
    identifier: record.subarray(fixedBytes, fixedBytes + nameBytes),
    systemUse: record.subarray(Math.min(systemUseAt, lengthBytes)),
  };
}
