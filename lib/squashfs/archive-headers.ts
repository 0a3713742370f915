import { type MemberType, nameFieldBytes } from '../tar/header.ts';
import { renderPaxRecords } from '../tar/pax.ts';
import { renderExtra, withSum } from '../tar/render.ts';

/** The names of a member, each character of which is one byte. */
export interface MemberNames {
  readonly name: Buffer;
  readonly target: Buffer;
  readonly type: MemberType;
}

/**
 * The headers of a member for mksquashfs: long names in records of a pax header beside `records`, but for the target of a
 * symbolic link, off which squashfs-tools 4.5.1 takes each leading `../` there. `header` has all other fields.
 */
export function finishHeaders(
  header: Buffer,
  { name, target, type }: MemberNames,
  records: ReadonlyMap<string, Buffer>,
): Buffer {
  const all = new Map(records);
  const isLong = target.length > nameFieldBytes;
  if (name.length > nameFieldBytes) all.set('path', name);
  if (isLong && type === 'link') all.set('linkpath', target);
  header.fill(0, 157, 157 + nameFieldBytes);
  target.copy(header, 157, 0, nameFieldBytes);
  const pax = renderPaxRecords(all);
  return Buffer.concat([
    ...(isLong && type === 'symlink' ? [renderExtra('K', Buffer.concat([target, Buffer.alloc(1)]))] : []),
    ...(pax.length > 0 ? [renderExtra('x', pax)] : []),
    withSum(header),
  ]);
}
