import { join } from 'node:path';

/** The marks by which all processes of a build can be found, even after its worker has died. */

/** Folder for the own files of a build's guest. */
export function guestDirectory(workDirectory: string): string {
  return join(workDirectory, 'guest');
}

/** Set in the environment of every process of a guest, to the guest's folder. The sweep finds them by it. */
export const guestVariable = 'IMAGEBUILDER_GUEST_DIRECTORY';

/** The name of a vm on its command line, which the sweep can read as any user, unlike the vm's environment. */
export function guestName(directory: string): string {
  return `guest=${directory.replaceAll(',', ',,')}`;
}
