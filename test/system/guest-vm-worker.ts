import type { GuestDisk } from '#lib/guest/guest.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { createLog } from '#lib/log.ts';

/** Gives up all rights of root, for good, where this process is root. */
export function becomeNobody(): void {
  if (process.getuid?.() !== 0) return;
  const nobody = 65_534;
  process.setgroups?.([]);
  process.setgid?.(nobody);
  process.setuid?.(nobody);
}

/**
 * A worker for tests to kill: opens the disk that its argument describes as JSON, prints `busy` once a script runs
 * inside that would write for minutes, and waits.
 */
if (import.meta.main) {
  const { disk, settings } = JSON.parse(process.argv[2] ?? '') as { disk: GuestDisk; settings: VmSettings };
  const session = await createVmGuest({ ...settings, log: createLog() }).open(disk, {
    signal: new AbortController().signal,
    onNotice: () => {},
    binds: [],
  });
  await session.run({
    name: 'busy',
    text: 'echo busy >&3; while :; do dd if=/dev/urandom of=/var/log/busy bs=64k count=64 conv=fsync; done',
    onStatusLine: (line) => console.log(line),
  });
}
