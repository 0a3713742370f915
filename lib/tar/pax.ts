import { corrupt, shown } from './refusals.ts';

/** Extended headers of tar: `LENGTH KEYWORD=VALUE\n` (POSIX.1-2001, pax). Keywords have one byte in each character. */
export type PaxRecords = ReadonlyMap<string, Buffer>;

const digitZero = 0x30;
const blank = 0x20;
const newline = 0x0a;

/** Throws `image.corrupt` for records that are none, or for a keyword that is there twice. */
export function parsePaxRecords(bytes: Buffer): PaxRecords {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    let length = 0;
    let place = at;
    for (; place < bytes.length && place < at + 10 && bytes[place] !== blank; place++) {
      const digit = (bytes[place] ?? 0) - digitZero;
      if (digit < 0 || digit > 9) throw corrupt('an extended header has no length');
      length = 10 * length + digit;
    }
    const end = at + length;
    if (bytes[place] !== blank || end > bytes.length || end <= place + 2 || bytes[end - 1] !== newline) {
      throw corrupt('an extended header is cut off');
    }
    const record = bytes.subarray(place + 1, end - 1);
    const equals = record.indexOf('=');
    if (equals < 1) throw corrupt('an extended header has no keyword');
    const keyword = record.toString('latin1', 0, equals);
    if (records.has(keyword)) throw corrupt(`an extended header has ${shown(keyword)} twice`);
    records.set(keyword, record.subarray(equals + 1));
    at = end;
  }
  return records;
}

export function renderPaxRecords(records: PaxRecords): Buffer {
  return Buffer.concat([...records].map(([keyword, value]) => renderRecord(keyword, value)));
}

function renderRecord(keyword: string, value: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${keyword}=`, 'latin1'), value, Buffer.from('\n')]);
  // The length counts its own digits.
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}
