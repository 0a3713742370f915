import { sumOf } from '../tar-sum.ts';
import {
  endBytes,
  formOf,
  type HeaderForm,
  isZero,
  type MemberType,
  nameFieldBytes,
  numberOf,
  padded,
  shortName,
  tarBlockBytes,
  textAt,
  typeFlags,
  writtenSum,
} from './header.ts';
import { type PaxRecords, parsePaxRecords } from './pax.ts';
import { corrupt, shown, truncated, unsupported } from './refusals.ts';
import { createReader, type Region, type RegionReader } from './region.ts';

/** A member of an archive. Each character of its names is one byte. */
export interface Member {
  /** As it stands in the archive. */
  readonly name: string;
  readonly type: MemberType;
  /** Permissions, with the bits of setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Time of the last change in seconds since 1970; negative before. */
  readonly modified: number;
  /** Of a symbolic link; of a hard link, the name of the member that it is a link to, as it stands in the archive. */
  readonly target: string;
  readonly major: number;
  readonly minor: number;
  readonly records: PaxRecords;
  /** The header itself, without those before it. */
  readonly header: Buffer;
  readonly form: HeaderForm;
  /** Places in the archive: of the first of its headers, of its content, and behind its last block. */
  readonly startAt: number;
  readonly contentAt: number;
  readonly endAt: number;
}

/** Version 7 had no letter for folders: a slash at the end of the name makes one of a file, which all readers know. */
const types: ReadonlyMap<string, MemberType> = new Map([
  ...(Object.keys(typeFlags) as MemberType[]).map((type) => [typeFlags[type], type] as const),
  ['\0', 'file'],
]);

/** Types that are known and not taken, with what they are. */
const refusedTypes: Readonly<Record<string, string>> = {
  '7': 'a contiguous file',
  A: "an ACL of Solaris' tar",
  D: "a list of a folder's content, as incremental archives have it",
  E: 'an extended attribute of Solaris',
  I: 'an inode without content',
  M: 'the rest of a file that another volume begins',
  N: 'a list of long names, as GNU tar wrote before 1991',
  S: 'a sparse file',
  V: 'the label of a volume',
  X: "an extended header of Solaris' tar",
  g: 'a global extended header',
};

/** Largest header before a member: Linux limits a name to 4 KiB, and the attributes of a file to some 64 KiB. */
const maximumExtraBytes = 2 ** 20;

/** Headers that stand before a member and belong to it. */
interface Extras {
  readonly startAt: number;
  readonly count: number;
  readonly records: PaxRecords | null;
  readonly path: string | null;
  readonly target: string | null;
}

/**
 * The members of an untrusted tar archive: ustar with pax headers or GNU's long names, or version 7. Only headers are read.
 * The archive has to end as the format wants, with two blocks of zeros and nothing but zeros behind them. Throws
 * `image.corrupt`, `image.unsupported` for members of other types, `image.truncated`, or the reason of the signal.
 */
export async function* readMembers(archive: Region, signal: AbortSignal): AsyncGenerator<Member, void, undefined> {
  const read = createReader(archive);
  let extras = noExtras(0);
  for (let at = 0; ; ) {
    signal.throwIfAborted();
    if (at + tarBlockBytes > archive.length) throw truncated('it has no blocks of zeros at its end');
    const header = await read(at, tarBlockBytes);
    if (isZero(header)) {
      if (extras.count > 0) throw corrupt('its last header belongs to no member');
      return await readEnd(archive, read, at, signal);
    }
    if (writtenSum(header) !== sumOf(header)) throw corrupt(`no header at byte ${at}: its checksum is wrong`);
    const flag = header.toString('latin1', 156, 157);
    if (flag === 'x' || flag === 'L' || flag === 'K') {
      const sizeBytes = numberOf(header, 'size');
      extras = await readExtra(read, extras, { flag, at: at + tarBlockBytes, sizeBytes });
      at += tarBlockBytes + padded(sizeBytes);
    } else {
      const member = memberOf(header, extras, at);
      if (member.endAt > archive.length) throw truncated(`${shown(member.name)} has ${member.sizeBytes} bytes`);
      yield member;
      at = member.endAt;
      extras = noExtras(at);
    }
  }
}

function noExtras(startAt: number): Extras {
  return { startAt, count: 0, records: null, path: null, target: null };
}

async function readEnd(archive: Region, read: RegionReader, start: number, signal: AbortSignal): Promise<void> {
  if (start + endBytes > archive.length) throw truncated('it has no blocks of zeros at its end');
  for (let at = start; at < archive.length; ) {
    signal.throwIfAborted();
    const bytes = await read(at, Math.min(2 ** 16, archive.length - at));
    if (!isZero(bytes)) {
      if (at === start && !isZero(bytes.subarray(0, endBytes))) throw corrupt('a block of zeros stands alone');
      throw corrupt('something follows its end');
    }
    at += bytes.length;
  }
}

interface Extra {
  readonly flag: 'x' | 'L' | 'K';
  /** Place of its content. */
  readonly at: number;
  readonly sizeBytes: number;
}

async function readExtra(read: RegionReader, extras: Extras, { flag, at, sizeBytes }: Extra): Promise<Extras> {
  if (sizeBytes > maximumExtraBytes) throw corrupt(`a header of a member has ${sizeBytes} bytes`);
  const given = { x: extras.records, L: extras.path, K: extras.target }[flag];
  if (given !== null) throw corrupt('a member has two headers of the same kind');
  const content = await read(at, padded(sizeBytes)).then((bytes) => bytes.subarray(0, sizeBytes));
  const next = { ...extras, count: extras.count + 1 };
  if (flag === 'x') return { ...next, records: parsePaxRecords(Buffer.from(content)) };
  const text = textAt(content, 0, sizeBytes);
  if (!isZero(content.subarray(text.length))) throw corrupt('a long name has a zero byte in it');
  return flag === 'L' ? { ...next, path: text } : { ...next, target: text };
}

const noRecords: PaxRecords = new Map();

function memberOf(header: Buffer, extras: Extras, at: number): Member {
  const flag = header.toString('latin1', 156, 157);
  const records = extras.records ?? noRecords;
  const form = flag in refusedTypes ? 'gnu' : formOf(header);
  const name = nameOf(records.get('path'), extras.path) ?? shortName(header, form);
  const type = flag === '\0' && name.endsWith('/') ? 'directory' : types.get(flag);
  if (type === undefined) {
    const what = refusedTypes[flag] ?? `of the unknown type ${JSON.stringify(flag)}`;
    throw unsupported(`its member ${shown(name)} is ${what}`);
  }
  if ([...records.keys()].some((keyword) => keyword.startsWith('GNU.sparse.') || keyword === 'SCHILY.realsize')) {
    throw unsupported(`its member ${shown(name)} is a sparse file`);
  }
  const sizeBytes = numberOf(header, 'size');
  // Programs that do not read extended headers would take the content for headers, or headers for content.
  if ((decimal(records, 'size') ?? sizeBytes) !== sizeBytes) throw corrupt(`${shown(name)} has two sizes`);
  if (records.has('size') && (extras.path !== null || extras.target !== null)) {
    // Some programs take it for the size of the header between.
    throw corrupt(`${shown(name)} has an extended header with a size, and one of GNU tar's for a long name`);
  }
  if (type !== 'file' && sizeBytes !== 0) throw corrupt(`${shown(name)} is no file, and has a content`);
  const contentAt = at + tarBlockBytes;
  // Elsewhere, some programs leave these fields empty, and others do not read them.
  const isDevice = form !== 'v7' && (type === 'character' || type === 'block');
  return {
    ...{ name, type, records, form, sizeBytes },
    header: Buffer.from(header),
    target: nameOf(records.get('linkpath'), extras.target) ?? textAt(header, 157, nameFieldBytes),
    mode: numberOf(header, 'mode') & 0o7777,
    uid: decimal(records, 'uid') ?? numberOf(header, 'uid'),
    gid: decimal(records, 'gid') ?? numberOf(header, 'gid'),
    modified: seconds(records) ?? numberOf(header, 'modified'),
    major: isDevice ? numberOf(header, 'major') : 0,
    minor: isDevice ? numberOf(header, 'minor') : 0,
    ...{ startAt: extras.startAt, contentAt, endAt: contentAt + padded(sizeBytes) },
  };
}

function nameOf(record: Buffer | undefined, long: string | null): string | null {
  if (record === undefined) return long;
  if (long !== null) throw corrupt('a member has two long names');
  if (record.length === 0 || record.includes(0)) throw corrupt('an extended header has a name that is none');
  return record.toString('latin1');
}

function decimal(records: PaxRecords, keyword: string): number | undefined {
  const text = records.get(keyword)?.toString('latin1');
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,15}$/.test(text)) throw corrupt(`an extended header has no number as ${keyword}`);
  return Number(text);
}

function seconds(records: PaxRecords): number | undefined {
  const text = records.get('mtime')?.toString('latin1');
  if (text === undefined) return undefined;
  if (!/^-?[0-9]{1,12}(\.[0-9]{0,30})?$/.test(text)) throw corrupt('an extended header has no time as mtime');
  return Number(text);
}
