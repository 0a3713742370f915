import { lendToNewUser } from '../../image/lent-images.ts';
import type { IdRange } from '../../privileges.ts';
import type { GuestDisk } from '../guest.ts';
import type { StorageDisk } from './messages.ts';

/** The files of a disk while a storage daemon may use them. */
export interface LentDisk extends AsyncDisposable {
  readonly disk: StorageDisk;
}

/**
 * Lets a new user out of `ids` write the overlay and read its base. Disposing kills the rest of that user's processes
 * and takes the files back: only after the supervisor has ended.
 */
export async function lendDisk(
  { overlayPath, base }: Pick<GuestDisk, 'overlayPath' | 'base'>,
  ids: IdRange,
): Promise<LentDisk> {
  const files = { overlay: { path: overlayPath, writable: true }, base: { path: base.path, writable: false } };
  const lent = await lendToNewUser(files, ids);
  const { user } = lent;
  return { disk: { overlayPath, base, user }, [Symbol.asyncDispose]: () => lent[Symbol.asyncDispose]() };
}
