import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Guest, GuestDisk } from '#lib/guest/guest.ts';
import { guestDirectory, guestName } from '#lib/guest/identity.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { createLog } from '#lib/log.ts';
import { type GuestTests, openGuestTests } from './guest-disk.ts';
import { becomeNobody } from './guest-worker.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Small images opened in vms by a process without privileges. */

export interface VmTests extends GuestTests {
  readonly settings: VmSettings;
  /** The guest with other settings. */
  guest(settings: Partial<VmSettings>): Guest;
}

export const log = createLog({ level: 'error' });

export async function openVmTests(name: string, options: { readonly asRoot?: true } = {}): Promise<VmTests> {
  // This guest exists to need no privileges: hardly a test of it has any.
  if (options.asRoot !== true) becomeNobody();
  const settingsIn = (directory: string): VmSettings => ({
    cacheDirectory: join(directory, 'cache'),
    vmKernelPath: '',
    vmMemoryBytes: 384 * 1024 ** 2,
    vmSwapBytes: 256 * 1024 ** 2,
    guestProcesses: 256,
    vmCpus: 2,
    vmNetwork: false,
    unprivilegedIds,
  });
  const tests = await openGuestTests(name, (directory) => createVmGuest({ ...settingsIn(directory), log }));
  const settings = settingsIn(tests.directory);
  return { ...tests, settings, guest: (others) => createVmGuest({ ...settings, ...others, log }) };
}

/** The process of QEMU on this disk. */
export async function emulator(disk: GuestDisk): Promise<number> {
  for (const id of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(id)) continue;
    const command = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
    const words = command.split('\0');
    if (command.startsWith('qemu-system') && words.includes(guestName(guestDirectory(disk.workDirectory)))) {
      return Number(id);
    }
  }
  throw new Error('there is no vm');
}
