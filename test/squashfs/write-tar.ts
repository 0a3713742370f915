import type { FileType } from '#lib/squashfs/inode.ts';
import { type FileSpec, type Files, sortedPaths } from './files.ts';

/** Archives from which sqfstar makes a SquashFS: ustar with pax headers (POSIX.1-2001), attributes as star writes them. */

const flags: Partial<Record<FileType, string>> = {
  file: '0',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** Longer targets get a header of their own, GNU's: sqfstar 4.5.1 drops each leading `../` of those in pax headers. */
const shortTargetBytes = 100;

export function writeTar(files: Files): Buffer {
  const parts: Buffer[] = [];
  const written = new Map<string, string>();
  for (const path of sortedPaths(files)) {
    const file = files.get(path);
    if (file === undefined) continue;
    const before = file.inode === undefined ? undefined : written.get(file.inode);
    if (file.inode !== undefined) written.set(file.inode, before ?? path);
    parts.push(...member(path, file, before));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function member(path: string, file: FileSpec, linkTo: string | undefined): Buffer[] {
  const records: Buffer[] = [record('path', Buffer.from(path))];
  const target = Buffer.from(linkTo ?? file.target ?? '');
  if (file.uid >= 2 ** 21) records.push(record('uid', Buffer.from(String(file.uid))));
  if (file.gid >= 2 ** 21) records.push(record('gid', Buffer.from(String(file.gid))));
  for (const [name, value] of Object.entries(file.attributes ?? {}))
    records.push(record(`SCHILY.xattr.${name}`, value));
  const flag = linkTo === undefined ? flags[file.type] : '1';
  if (flag === undefined) throw new Error(`tar has no ${file.type}`);
  const content = linkTo === undefined && file.type === 'file' ? (file.content ?? Buffer.alloc(0)) : Buffer.alloc(0);
  const pax = Buffer.concat(records);
  const long = Buffer.concat([target, Buffer.alloc(1)]);
  return [
    ...(target.length > shortTargetBytes ? [header(file, 'K', long.length), pad(long)] : []),
    ...[header(file, 'x', pax.length), pad(pax)],
    ...[header(file, flag, content.length, target), pad(content)],
  ];
}

function record(name: string, value: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${name}=`), value, Buffer.from('\n')]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

function header(file: FileSpec, flag: string, size: number, target: Buffer = Buffer.alloc(0)): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${(value % 8 ** (length - 1)).toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  block.write('x', 0);
  octal(file.mode, 100, 8);
  octal(file.uid, 108, 8);
  octal(file.gid, 116, 8);
  octal(size, 124, 12);
  octal(file.modifiedSeconds, 136, 12);
  target.copy(block, 157, 0, shortTargetBytes);
  block.write('        ', 148);
  block.write(flag, 156);
  block.write('ustar\x0000', 257, 'latin1');
  octal(file.device?.[0] ?? 0, 329, 8);
  octal(file.device?.[1] ?? 0, 337, 8);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}
