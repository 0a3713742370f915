import { readFileSync } from 'node:fs';
import { exists, readText, remove, writeLink, writeText } from './files.ts';
import { commandPath, dropInFolder, onMachine, programPrefix, serviceName, startedPath, unitPath } from './places.ts';
import { CommandError, run, succeeds } from './run.ts';

/** The service of systemd. */

const hostGuestPath = `${dropInFolder}/host-guest.conf`;

/** Writes the unit, and with `hostGuest` the drop-in with which images are mounted, as root. */
export function writeUnit(hostGuest: boolean): void {
  writeText(unitPath, readFileSync(onMachine(`${programPrefix}/lib/systemd/system/${serviceName}`), 'utf8'), 0o644);
  if (hostGuest) writeLink(hostGuestPath, `${programPrefix}/lib/imagebuilder/host-guest.conf`);
  else remove(hostGuestPath);
  writeLink(commandPath, `${programPrefix}/lib/imagebuilder/bin/imagebuilder`);
}

export const isActive = (): boolean => succeeds('systemctl', ['is-active', '--quiet', serviceName]);

/** Whether the service runs, and was started with these settings. */
export const isRunningWith = (settings: string): boolean => readText(startedPath) === settings && isActive();

/**
 * Starts the service anew: a running build goes back to RabbitMQ first. `settings` is a digest of all that it is started
 * with, which is kept so that a hook that dies before its end makes the next one start it again. Gives back the reason of a
 * failure.
 */
export function startService(settings: string): string | null {
  remove(startedPath);
  run('systemctl', ['daemon-reload']);
  run('systemctl', ['enable', '--quiet', serviceName]);
  // After too many failures systemd would refuse to start it.
  succeeds('systemctl', ['reset-failed', serviceName]);
  try {
    run('systemctl', ['restart', serviceName]);
  } catch (error) {
    if (error instanceof CommandError) return error.message;
    throw error;
  }
  writeText(startedPath, settings, 0o600);
  return null;
}

/** Stops the service, and keeps it from starting with the machine. */
export function stopService(): void {
  remove(startedPath);
  if (exists(unitPath)) run('systemctl', ['disable', '--quiet', '--now', serviceName]);
}

/** Deletes the unit of a service that was stopped. */
export function removeUnit(): void {
  for (const path of [unitPath, dropInFolder, commandPath]) remove(path);
  run('systemctl', ['daemon-reload']);
}

/** The last thing that the service has said before it ended, since its last start; null where that is not known. */
export function lastWords(): string | null {
  try {
    const id = run('systemctl', ['show', '--property=InvocationID', '--value', serviceName]).trim();
    if (id === '') return null;
    const lines = run('journalctl', [`_SYSTEMD_INVOCATION_ID=${id}`, '--lines=50', '--output=cat', '--no-pager']);
    return (
      lines
        .split('\n')
        .findLast((line) => line.startsWith('imagebuilder: '))
        ?.slice('imagebuilder: '.length) ?? null
    );
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}
