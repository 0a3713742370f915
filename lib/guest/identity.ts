import { join } from 'node:path';

/** The marks by which everything that runs for a build is found, after its worker has died too. */

/** Where the guest of a build keeps its own files. */
export function guestDirectory(workDirectory: string): string {
  return join(workDirectory, 'guest');
}

/** Set in the environment of every process that belongs to a guest: the guest's folder. The sweep finds them by it. */
export const guestVariable = 'IMAGEBUILDER_GUEST_DIRECTORY';

/** The name of a vm on its command line, which the sweep can read as any user, unlike the vm's environment. */
export function guestName(directory: string): string {
  return `guest=${directory.replaceAll(',', ',,')}`;
}
