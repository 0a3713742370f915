import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { chooseGuest } from '#lib/guest/choose.ts';
import { probeVm } from '#lib/guest/vm/probe.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { createLog } from '#lib/log.ts';
import { assertCode, failure, output } from './guest-disk.ts';
import { makeTestImage } from './guest-image.ts';
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
    const addresses = async () => await output(session, 'grep -F "[stack]" /proc/self/maps');
    const [first, second] = [await addresses(), await addresses()];
    // Under emulation, the same for each program that starts.
    assert.is(first === second, session.emulation === 'machine', `${first}, then ${second}`);
  },
});

test('an emulated vm has one processor on a busy machine, and the log says so', async () => {
  const image = await makeTestImage(directory, 'busy');
  const lines: string[] = [];
  const telling = createLog({ level: 'info', write: (line) => lines.push(line) });
  const busy = createVmGuest({ ...settings, vmCpus: null, log: telling });
  const loads = Array.from({ length: availableParallelism() }, () => spawn(process.execPath, ['-e', 'for (;;);']));
  await vm.withDisk(image, async (disk) => {
    try {
      await using session = await disk.open({}, busy);
      for (const load of loads) load.kill('SIGKILL');
      const ready = JSON.parse(lines.find((line) => line.includes('the vm is ready')) ?? '{}');
      const count = ready.accelerator === 'kvm' ? Math.min(2, loads.length) : 1;
      assert.is(ready.processors, count, JSON.stringify(ready));
      assert.is(session.emulation, ready.accelerator === 'kvm' ? undefined : 'machine');
      assert.is(await output(session, 'nproc --all'), String(count));
      await session.close();
    } finally {
      for (const load of loads) load.kill('SIGKILL');
    }
  });
});

test.after(vm.remove);

test.run();
