import { statSync } from 'node:fs';
import { type IdRange, newUnprivilegedUser, type UnprivilegedUser } from '../../privileges.ts';
import type { Accelerator } from './machine.ts';

export const kvmDevice = '/dev/kvm';

/** The user for the QEMU of one vm; with KVM, a user who may open its device. */
export function vmUser(range: IdRange, accelerator: Accelerator): UnprivilegedUser | null {
  const user = newUnprivilegedUser(range);
  if (user === null || accelerator !== 'kvm') return user;
  return { ...user, groups: kvmGroups() ?? [] };
}

/** The groups that a user without rights needs for /dev/kvm; null where no group but root's would help. */
export function kvmGroups(): number[] | null {
  const { mode, gid } = statSync(kvmDevice);
  const mayBoth = 0o6;
  if ((mode & mayBoth) === mayBoth) return [];
  return ((mode >> 3) & mayBoth) === mayBoth && gid !== 0 ? [gid] : null;
}
