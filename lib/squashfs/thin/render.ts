import { finishHeaders } from '../archive-headers.ts';
import { isBookkeeping, isOpaqueMark } from './compare.ts';
import type { Member } from './member.ts';

/**
 * The headers of an entry for mksquashfs: without the marks of overlayfs that layers do not need. `hides`: a directory
 * keeps the mark by which it hides what layers below have there.
 */
export function renderHeaders(member: Member, hides: boolean): Buffer {
  const isLeft = (keyword: string) =>
    !isBookkeeping(keyword) && keyword !== 'linkpath' && (hides || !isOpaqueMark(keyword));
  const records = new Map([...member.records].filter(([keyword]) => isLeft(keyword)));
  const [name, target] = [Buffer.from(member.path, 'latin1'), Buffer.from(member.target, 'latin1')];
  return finishHeaders(Buffer.from(member.header), { name, target, type: member.type }, records);
}
