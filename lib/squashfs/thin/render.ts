import { isBookkeeping } from './compare.ts';
import { type Member, tarBlockBytes } from './member.ts';
import { renderPaxRecords } from './pax.ts';

/** Length of the fields of names in a header of tar. */
const fieldBytes = 100;

/**
 * The headers of an entry for mksquashfs: without the marks of overlayfs that layers do not need, and with the target of a
 * symbolic link outside of the pax header, where squashfs-tools 4.5.1 takes each leading `../` off it.
 */
export function renderHeaders(member: Member): Buffer {
  const records = new Map([...member.records].filter(([keyword]) => !isBookkeeping(keyword) && keyword !== 'linkpath'));
  const target = Buffer.from(member.target, 'latin1');
  const isLong = target.length > fieldBytes;
  if (member.path.length > fieldBytes) records.set('path', Buffer.from(member.path, 'latin1'));
  if (isLong && member.type === 'link') records.set('linkpath', target);
  const header = Buffer.from(member.header);
  header.fill(0, 157, 157 + fieldBytes);
  target.copy(header, 157, 0, fieldBytes);
  const longTarget = Buffer.concat([target, Buffer.alloc(1)]);
  const pax = renderPaxRecords(records);
  return Buffer.concat([
    ...(isLong && member.type === 'symlink' ? [extraHeader('K', longTarget.length), padded(longTarget)] : []),
    ...(pax.length > 0 ? [extraHeader('x', pax.length), padded(pax)] : []),
    withSum(header),
  ]);
}

function extraHeader(flag: string, sizeBytes: number): Buffer {
  const header = Buffer.alloc(tarBlockBytes);
  header.write('header', 0);
  for (const at of [100, 108, 116]) header.write('0000000\0', at, 'latin1');
  header.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('00000000000\0', 136, 'latin1');
  header.write(flag, 156);
  header.write('ustar\x0000', 257, 'latin1');
  return withSum(header);
}

function withSum(header: Buffer): Buffer {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((tarBlockBytes - (bytes.length % tarBlockBytes)) % tarBlockBytes)]);
}
