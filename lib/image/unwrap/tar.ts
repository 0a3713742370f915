import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { isZero, numberAt, numberOf, padded, tarBlockBytes } from '../../tar/header.ts';
import { sumOf } from '../../tar-sum.ts';
import { readAt, readText } from '../read-at.ts';
import { assertMemberCount, type Member } from './member.ts';

/** A regular file of a tar archive. */
export interface TarMember extends Member {
  /** Bytes of the file itself, holes included. */
  readonly contentBytes: number;
  /** Its parts that are no holes, in their order. */
  readonly extents: readonly Extent[];
}

export interface Extent {
  /** Its place in the file itself. */
  readonly contentOffset: number;
  readonly sizeBytes: number;
}

const mostHeaders = 10_000;
/** A map of this length describes 64 GiB in the smallest holes that file systems make. */
const mostExtents = 2 ** 20;

/**
 * The regular files of a tar archive (POSIX.1-1988 ustar and GNU tar's forms, old sparse files included; an OVA is one),
 * in their order. Only headers are read. Throws `image.corrupt` for a header that is none, `image.truncated` where a
 * file ends too early, `image.unsupported` for more headers than an archive with a disk image has.
 */
export async function readTarMembers(handle: FileHandle, fileBytes: number, signal: AbortSignal): Promise<TarMember[]> {
  const members: TarMember[] = [];
  let longName: string | null = null;
  let headers = 0;
  for (let offset = 0; offset + tarBlockBytes <= fileBytes; ) {
    signal.throwIfAborted();
    headers += 1;
    if (headers > mostHeaders) throw tooMany();
    const header = await readAt(handle, offset, tarBlockBytes);
    if (isZero(header)) break;
    if (numberOf(header, 'sum') !== sumOf(header)) throw corrupt(offset);
    const sizeBytes = numberOf(header, 'size');
    const type = header.toString('latin1', 156, 157);
    let dataOffset = offset + tarBlockBytes;
    if (sizeBytes > fileBytes - dataOffset) {
      throw new ImageBuilderError('image.truncated', `the tar archive ends within a file of ${sizeBytes} bytes`);
    }
    if (type === 'L') longName = readText(await readAt(handle, dataOffset, Math.min(sizeBytes, 4096)), 0, 4096);
    else if (type !== 'x' && type !== 'g' && type !== 'K') {
      const name = longName ?? nameOf(header);
      if (name.startsWith('GNUSparseFile.')) throw unsupportedSparse(name);
      if (type === '0' || type === '\0' || type === '7') {
        members.push({
          name,
          sizeBytes,
          dataOffset,
          contentBytes: sizeBytes,
          extents: [{ contentOffset: 0, sizeBytes }],
        });
      }
      if (type === 'S') {
        const map = await readSparseMap(handle, header, dataOffset, sizeBytes);
        members.push({ name, sizeBytes, ...map });
        dataOffset = map.dataOffset;
      }
      assertMemberCount(members, 'tar archive');
      longName = null;
    }
    offset = dataOffset + padded(sizeBytes);
  }
  return members;
}

/**
 * The map of a sparse file in old GNU tar's form: four parts in the header, further ones in blocks before the data (GNU
 * tar's manual, "Old GNU Format"). The blocks of the map do not count as the file's size.
 */
async function readSparseMap(handle: FileHandle, header: Buffer, dataOffset: number, sizeBytes: number) {
  const extents = readExtents(header, 386, 4);
  let place = dataOffset;
  for (let more = header.readUInt8(482) !== 0; more; place += tarBlockBytes) {
    const block = await readAt(handle, place, tarBlockBytes);
    extents.push(...readExtents(block, 0, 21));
    if (extents.length > mostExtents) throw tooMany();
    more = block.readUInt8(504) !== 0;
  }
  const contentBytes = numberAt(header, 483, 12, 'size');
  const stored = extents.reduce((sum, extent) => sum + extent.sizeBytes, 0);
  const ordered = extents.every(({ contentOffset, sizeBytes: length }, index) => {
    const next = extents[index + 1]?.contentOffset ?? contentBytes;
    return contentOffset + length <= next;
  });
  if (stored !== sizeBytes || !ordered) throw corrupt(dataOffset);
  return { contentBytes, extents, dataOffset: place };
}

function readExtents(bytes: Buffer, start: number, count: number): Extent[] {
  const extents: Extent[] = [];
  for (let offset = start; offset < start + count * 24 && bytes.readUInt8(offset) !== 0; offset += 24) {
    extents.push({
      contentOffset: numberAt(bytes, offset, 12, 'offset'),
      sizeBytes: numberAt(bytes, offset + 12, 12, 'size'),
    });
  }
  return extents;
}

function nameOf(header: Buffer): string {
  const name = readText(header, 0, 100) ?? '';
  const prefix = header.toString('latin1', 257, 263) === 'ustar\0' ? readText(header, 345, 155) : null;
  return prefix === null ? name : `${prefix}/${name}`;
}

function tooMany(): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', 'the tar archive has more parts than one with a disk image');
}

function corrupt(offset: number): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the tar archive is damaged: no header at byte ${offset}`);
}

function unsupportedSparse(name: string): ImageBuilderError {
  return new ImageBuilderError(
    'image.unsupported',
    `${name} lies in the tar archive as a sparse file of POSIX's form: give the URL of the disk image itself`,
  );
}
