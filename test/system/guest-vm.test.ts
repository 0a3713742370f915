import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { chooseGuest } from '#lib/guest/choose.ts';
import { probeVm } from '#lib/guest/vm/probe.ts';
import { assertCode, failure } from './guest-disk.ts';
import { testGuest } from './guest-suite.ts';
import { log, openVmTests } from './guest-vm-disk.ts';

const vm = await openVmTests('guest-vm');
const { directory, settings } = vm;

test('a vm is found usable without privileges, and chosen where images cannot be mounted', async () => {
  const found = await probeVm(settings);
  assert.ok(found.usable, JSON.stringify(found));
  const { guest, tools } = loadConfig({});
  const options = { directory: join(directory, 'probe'), vm: settings, host: { ...guest, ...tools }, log };
  const chosen = await chooseGuest({ setting: 'auto', ...options });
  assert.is(chosen.guest.kind, 'vm');
  assert.match(chosen.reason, /KVM|slow/);
  assertCode(await failure(chooseGuest({ setting: 'host', ...options })), 'guest.unavailable', /needs root/);
});

await testGuest({
  kind: 'vm',
  tests: vm,
  networked: vm.guest({ vmNetwork: true }),
  cancelAfterMs: [0, 100, 1000, 3000],
  async lookInside(session, disk) {
    const { blocks } = await stat(join(disk.workDirectory, 'guest', 'payload.raw'));
    assert.ok(blocks * 512 < 1024 * 1024, 'the payload takes no room when no script runs');
    // They start while scripts run.
    const wait = `until [ "$(nproc)" = ${settings.vmCpus} ]; do sleep 0.1; done`;
    await session.run({ name: 'processors', text: wait, timeoutMs: 60_000 });
  },
});

test.after(vm.remove);

test.run();
