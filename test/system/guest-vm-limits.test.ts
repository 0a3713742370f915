import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageBuilderError } from '#lib/errors.ts';
import { assertCode, failure } from './guest-disk.ts';
import { makeTestImage } from './guest-image.ts';
import { devour, testLimits } from './guest-limits-suite.ts';
import { openVmTests } from './guest-vm-disk.ts';

/** Processes in a vm are held to limits, which errors name when they are met. */

const vm = await openVmTests('vm-limits');
const image = await makeTestImage(vm.directory, 'plain');
/** With little memory and few processes. */
const limits = { vmMemoryBytes: 256 * 1024 ** 2, vmSwapBytes: 0, guestProcesses: 64 };
const guest = vm.guest(limits);
const memoryMessage = /more memory than the 256 MiB that IMAGEBUILDER_VM_MEMORY allows.*raise IMAGEBUILDER_VM_MEMORY/;

testLimits({ tests: vm, image, guest, memoryMessage });

test('a vm whose kernel gives up for want of memory is heard of as that', async () => {
  await vm.withDisk(image, async (disk) => {
    await using session = await disk.open({}, guest);
    const text = `mkdir /tmp/proc; mount -t proc proc /tmp/proc; echo 1 >/tmp/proc/sys/vm/panic_on_oom; ${devour}`;
    const error = await failure(session.run({ name: 'hungry', text }));
    assertCode(error, 'guest.limit', memoryMessage);
    assert.match((error as ImageBuilderError).logTail.join('\n'), /Kernel panic/);
  });
});

test('swap takes what the memory does not', async () => {
  await vm.withDisk(image, async (disk) => {
    await using session = await disk.open({}, vm.guest({ ...limits, vmSwapBytes: 128 * 1024 ** 2 }));
    const text =
      'mkdir /tmp/all; mount -t tmpfs -o size=1g all /tmp/all; dd if=/dev/zero of=/tmp/all/file bs=1M count=280';
    await session.run({ name: 'fill', text });
    await session.close();
  });
});

test.after(vm.remove);

test.run();
