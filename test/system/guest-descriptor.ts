import { loadConfig } from '#lib/config/load.ts';
import type { GuestDisk } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { createLog } from '#lib/log.ts';
import { unprivilegedIds } from './unprivileged.ts';

/**
 * A worker for hostile-host.test.ts, which starts it with a descriptor that it does not know of: opens the disk that
 * its argument describes as JSON, and prints which descriptors a script has.
 */
const disk = JSON.parse(process.argv[2] ?? '') as GuestDisk;
await using session = await createHostGuest({
  limits: loadConfig({}).guest,
  ids: unprivilegedIds,
  log: createLog({ level: 'error' }),
}).open(disk, {
  signal: new AbortController().signal,
  onNotice: () => {},
  binds: [],
});
const look = {
  name: 'look',
  text: 'for number in $(ls /proc/self/fd); do [ ! -e /proc/$$/fd/$number ] || echo $number; done',
};
console.log((await session.run(look)).stdout.trim().replaceAll('\n', ' '));
