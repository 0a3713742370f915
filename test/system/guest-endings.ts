import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { GuestDisk } from '#lib/guest/guest.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { assertCode, type Begun, busy, failure } from './guest-disk.ts';
import { withKilledWorker } from './guest-worker.ts';

/** Builds that end before their changes come out, for every sort of disk that hands them out as files. */

type Ending<Disk extends GuestDisk> = Begun<Disk> & { end(): Promise<void> };

/** Changes more on a disk than it allows, which is less than 2 MiB: closing it fails, and there is no file of changes. */
export async function exceedChanges<Disk extends GuestDisk>(
  disk: Ending<Disk & { readonly changes: { readonly path: string } }>,
): Promise<void> {
  const session = await disk.open();
  await session.run({ name: 'change', text: 'dd if=/dev/urandom of=/big bs=1M count=2 2>&1' });
  assertCode(await failure(session.close()), 'guest.limit', /script changes/);
  await session[Symbol.asyncDispose]();
  assert.is(await stat(disk.changes.path).catch(() => null), null);
  await disk.end();
}

/** Cancels a script on one disk, and kills the worker of one on another: nothing is left of either. */
export async function cancelAndKill<Disk extends GuestDisk>(
  begin: () => Promise<Ending<Disk>>,
  vm: VmSettings | null,
): Promise<void> {
  const cancelled = await begin();
  const stop = new AbortController();
  const session = await cancelled.open({ signal: stop.signal });
  const reason = new Error('cancelled');
  assert.is(await failure(session.run(busy(() => stop.abort(reason)))), reason);
  await session[Symbol.asyncDispose]();
  await cancelled.end();
  const killed = await begin();
  await withKilledWorker(killed, vm === null ? {} : { vm });
  await rm(join(killed.workDirectory, 'guest'), { recursive: true });
  await killed.end();
}
