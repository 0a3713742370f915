import type { Owner } from './files.ts';
import { onMachine, programPrefix, serviceUser } from './places.ts';
import { run, succeeds } from './run.ts';

/** The user that the service runs as; it is made where it is missing. */
export function ensureUser(): Owner {
  if (!succeeds('id', ['-u', serviceUser])) {
    run('systemd-sysusers', [onMachine(`${programPrefix}/lib/sysusers.d/imagebuilder.conf`)]);
  }
  const number = (flag: string) => Number(run('id', [flag, serviceUser]).trim());
  return { uid: number('-u'), gid: number('-g') };
}

export function removeUser(): void {
  if (succeeds('id', ['-u', serviceUser])) run('userdel', [serviceUser]);
}
