import { nameFieldBytes } from '../../tar/header.ts';
import { renderPaxRecords } from '../../tar/pax.ts';
import { renderExtra, withSum } from '../../tar/render.ts';
import { isBookkeeping, isOpaqueMark } from './compare.ts';
import type { Member } from './member.ts';

/**
 * The headers of an entry for mksquashfs: without the marks of overlayfs that layers do not need, and with the target of a
 * symbolic link outside of the pax header, where squashfs-tools 4.5.1 takes each leading `../` off it. `hides`: a directory
 * keeps the mark by which it hides what layers below have there.
 */
export function renderHeaders(member: Member, hides: boolean): Buffer {
  const isLeft = (keyword: string) =>
    !isBookkeeping(keyword) && keyword !== 'linkpath' && (hides || !isOpaqueMark(keyword));
  const records = new Map([...member.records].filter(([keyword]) => isLeft(keyword)));
  const target = Buffer.from(member.target, 'latin1');
  const isLong = target.length > nameFieldBytes;
  if (member.path.length > nameFieldBytes) records.set('path', Buffer.from(member.path, 'latin1'));
  if (isLong && member.type === 'link') records.set('linkpath', target);
  const header = Buffer.from(member.header);
  header.fill(0, 157, 157 + nameFieldBytes);
  target.copy(header, 157, 0, nameFieldBytes);
  const longTarget = Buffer.concat([target, Buffer.alloc(1)]);
  const pax = renderPaxRecords(records);
  return Buffer.concat([
    ...(isLong && member.type === 'symlink' ? [renderExtra('K', longTarget)] : []),
    ...(pax.length > 0 ? [renderExtra('x', pax)] : []),
    withSum(header),
  ]);
}
