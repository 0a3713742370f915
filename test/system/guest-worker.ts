import { loadConfig } from '#lib/config/load.ts';
import type { GuestDisk } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { createLog } from '#lib/log.ts';
import { unprivilegedIds } from './unprivileged.ts';

/**
 * A worker for tests to kill: opens the disk that its argument describes as JSON, prints `busy` once a script runs
 * inside that would write for minutes, and waits.
 */
const disk = JSON.parse(process.argv[2] ?? '') as GuestDisk;
const session = await createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log: createLog() }).open(
  disk,
  {
    signal: new AbortController().signal,
    onNotice: () => {},
    binds: [],
  },
);
await session.run({
  name: 'busy',
  text: 'echo busy >&3; while :; do dd if=/dev/urandom of=/var/log/busy bs=64k count=64 conv=fsync; done',
  onStatusLine: (line) => console.log(line),
});
