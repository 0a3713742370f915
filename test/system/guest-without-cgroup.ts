import { loadConfig } from '#lib/config/load.ts';
import type { GuestDisk } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { createLog } from '#lib/log.ts';
import { unprivilegedIds } from './unprivileged.ts';

/**
 * A worker for guest-limits.test.ts, which starts it where no cgroup is mounted: opens the disk that its argument
 * describes as JSON, has a script take all the memory, and prints how that ended. Its log goes to standard error.
 */
const disk = JSON.parse(process.argv[2] ?? '') as GuestDisk;
const limits = { ...loadConfig({}).guest, guestMemoryBytes: 96 * 2 ** 20 };
const guest = createHostGuest({ limits, ids: unprivilegedIds, log: createLog() });
await using session = await guest.open(disk, {
  signal: new AbortController().signal,
  onNotice: () => {},
  binds: [],
});
await session.run({ name: 'devours', text: 'x=0123456789abcdef; while :; do x="$x$x"; done' }).then(
  () => console.log('it ended well'),
  (error: unknown) => console.log(error instanceof Error ? error.message : error),
);
