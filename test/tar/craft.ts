import { withSum } from '#lib/tar/render.ts';

/** Archives whose every byte is known, so that tests can say what no program would write. */

export interface CraftedMember {
  readonly name: string;
  /** Flag of the type: `0` by default. */
  readonly flag?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly modified?: number;
  readonly content?: string | Buffer;
  readonly target?: string;
  readonly device?: readonly [number, number];
  /** Records of an extended header before it. */
  readonly records?: Readonly<Record<string, string | Buffer>>;
  /** GNU's headers for long names and targets before it. */
  readonly longName?: string;
  readonly longTarget?: string;
  /** Mark and version of the format; zeros make version 7. */
  readonly mark?: string;
  /** Bytes that are put into the header at last: `[place, bytes]`. The checksum counts them. */
  readonly bytes?: readonly (readonly [number, string | Buffer])[];
}

export const marks = { ustar: 'ustar\x0000', gnu: 'ustar  \0', v7: '\0\0\0\0\0\0\0\0' } as const;
/** Two blocks of zeros. */
export const end = Buffer.alloc(1024);

export function craftTar(...members: readonly CraftedMember[]): Buffer {
  return Buffer.concat([...members.map(craftMember), end]);
}

export function craftMember(member: CraftedMember): Buffer {
  const { name, records, longName, longTarget, content = '' } = member;
  const bytes = toBytes(content);
  const pax = Object.entries(records ?? {}).map(([keyword, value]) => paxRecord(keyword, value));
  return Buffer.concat([
    ...(longTarget === undefined ? [] : [extra('K', Buffer.concat([toBytes(longTarget), Buffer.alloc(1)]))]),
    ...(longName === undefined ? [] : [extra('L', Buffer.concat([toBytes(longName), Buffer.alloc(1)]))]),
    ...(pax.length === 0 ? [] : [extra('x', Buffer.concat(pax))]),
    craftHeader({ ...member, name }, bytes.length),
    pad(bytes),
  ]);
}

/** A header before a member, with its content. */
export function extra(flag: string, content: Buffer): Buffer {
  const mark = flag === 'L' || flag === 'K' ? marks.gnu : marks.ustar;
  return Buffer.concat([craftHeader({ name: 'header', flag, mark }, content.length), pad(content)]);
}

export function paxRecord(keyword: string, value: string | Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${keyword}=`), toBytes(value), Buffer.from('\n')]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

export function craftHeader(member: CraftedMember, size: number): Buffer {
  const { mark = marks.ustar, flag = '0', device = [0, 0] } = member;
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  toBytes(member.name).copy(block, 0, 0, 100);
  octal(member.mode ?? (flag === '5' ? 0o755 : 0o644), 100, 8);
  octal(member.uid ?? 0, 108, 8);
  octal(member.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(member.modified ?? 1_700_000_000, 136, 12);
  block.write(flag, 156, 'latin1');
  toBytes(member.target ?? '').copy(block, 157, 0, 100);
  block.write(mark, 257, 'latin1');
  if (mark !== marks.v7) {
    octal(device[0], 329, 8);
    octal(device[1], 337, 8);
  }
  for (const [at, bytes] of member.bytes ?? []) toBytes(bytes).copy(block, at);
  return withSum(block);
}

function toBytes(text: string | Buffer): Buffer {
  return typeof text === 'string' ? Buffer.from(text) : text;
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}
