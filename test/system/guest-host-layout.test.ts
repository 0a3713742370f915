import { test } from 'uvu';
import { loadConfig } from '#lib/config/load.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { createLog } from '#lib/log.ts';
import { openGuestTests } from './guest-disk.ts';
import { testBtrfs, testLayouts } from './guest-layout-suite.ts';
import { openVmTests } from './guest-vm-disk.ts';
import { unprivilegedIds } from './unprivileged.ts';

const log = createLog({ level: 'error' });
const guest = createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log });
const tests = await openGuestTests('guest-layout', () => guest);

const vm = await openVmTests('guest-layout-vm', { asRoot: true });

testLayouts('host', tests);
testBtrfs('host', tests);
testBtrfs('vm', vm);

test.after(tests.remove);
test.after(vm.remove);

test.run();
