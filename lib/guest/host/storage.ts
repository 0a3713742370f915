import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { unescapeOctal } from '../../image/octal.ts';

/** The qcow2 overlay as a raw file, by qemu-storage-daemon's FUSE export, and the kernel's side of it. */

/**
 * Arguments of `unshare` that start the daemon. It has a mount namespace of its own, so that the export is seen by
 * the guest's namespace alone, which descends from it: no other build's namespace can hold on to the mount, and with
 * the daemon it is gone.
 */
export function storageArguments(overlayPath: string, exportPath: string): string[] {
  // In QEMU's option syntax a comma in a value is doubled.
  const value = (path: string) => path.replaceAll(',', ',,');
  return [
    '--mount',
    '--propagation',
    'slave',
    '--',
    'qemu-storage-daemon',
    '--blockdev',
    // The overlay is thrown away after a crash, so nothing is gained by flushing it to the disk.
    `driver=qcow2,node-name=disk,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=${value(overlayPath)},file.discard=unmap`,
    '--export',
    `fuse,id=disk,node-name=disk,mountpoint=${value(exportPath)},writable=on,allow-other=off`,
  ];
}

/**
 * The number of the FUSE connection that process `processId` sees mounted over `exportPath`, which fusectl knows it
 * by; null where nothing is mounted there. Only reads the mount table: asking the mount itself could hang.
 */
export async function fuseConnection(processId: number, exportPath: string): Promise<string | null> {
  const table = await readFile(`/proc/${processId}/mountinfo`, 'utf8').catch(() => '');
  for (const line of table.split('\n')) {
    const [, , device = '', , target = ''] = line.split(' ');
    if (unescapeOctal(target) === exportPath && device.startsWith('0:')) return device.slice(2);
  }
  return null;
}

/**
 * Shell text that aborts the FUSE connection `$1`: whoever waits for its server gets an I/O error. It mounts fusectl
 * itself, in a namespace of its own, since containers have none.
 */
export const abortScript =
  'mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null; echo 1 >"/sys/fs/fuse/connections/$1/abort"';

/**
 * Shell text of the storage daemon's last will: reads names of loop devices until its standard input ends, which also
 * happens when the supervisor is killed; waits until they are off the export `$2` and then ends the daemon, process
 * `$1`. A file whose mount namespace is gone shows as `/`.
 */
export const lastWillScript = `
loops=
while read -r name; do loops="$loops $name"; done
for name in $loops; do
  while read -r file <"/sys/block/$name/loop/backing_file" && { [ "$file" = "$2" ] || [ "$file" = / ]; }; do sleep 0.02; done
done 2>/dev/null
kill -s TERM "$1"
`;

/** Asks `done` every few milliseconds; false where it has not come true within `limitMs`. */
export async function waitFor(done: () => boolean | Promise<boolean>, limitMs: number): Promise<boolean> {
  const until = Date.now() + limitMs;
  while (!(await done())) {
    if (Date.now() > until) return false;
    await sleep(5);
  }
  return true;
}
