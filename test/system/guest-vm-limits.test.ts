import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageBuilderError } from '#lib/errors.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { makeTestImage } from './guest-image.ts';
import { assertCode, failure, openVmTests } from './guest-vm-disk.ts';

/** Processes in a vm are held to limits, which errors name when they are met. */

const vm = await openVmTests('vm-limits');
const image = await makeTestImage(vm.directory, 'plain');

/** Runs a script in a vm with little memory and few processes. */
async function inVm(body: (session: GuestSession) => Promise<void>, vmSwapBytes = 0): Promise<void> {
  await vm.withDisk(image, async (disk) => {
    await using session = await disk.open({}, { vmMemoryBytes: 256 * 1024 ** 2, vmSwapBytes, guestProcesses: 64 });
    await body(session);
  });
}

const memoryMessage = /more memory than the 256 MiB that IMAGEBUILDER_VM_MEMORY allows.*raise IMAGEBUILDER_VM_MEMORY/;
const devour = 'x=0123456789abcdef; while :; do x="$x$x"; done';

test('a script that takes all the memory ends with the limit named', async () => {
  await inVm(async (session) => {
    assertCode(await failure(session.run({ name: 'hungry', text: devour })), 'guest.limit', memoryMessage);
    assertCode(await failure(session.close()), 'guest.limit', memoryMessage);
  });
});

test('a process killed for its memory fails the script that goes on and ends well, without waiting for its end', async () => {
  for (const end of ['exit 0', 'sleep 600']) {
    await inVm(async (session) => {
      const error = await failure(session.run({ name: 'hungry', text: `sh -c '${devour}'; ${end}` }));
      assertCode(error, 'guest.limit', memoryMessage);
    });
  }
});

test('a vm whose kernel gives up for want of memory is heard of as that', async () => {
  await inVm(async (session) => {
    const text = `mkdir /tmp/proc; mount -t proc proc /tmp/proc; echo 1 >/tmp/proc/sys/vm/panic_on_oom; ${devour}`;
    const error = await failure(session.run({ name: 'hungry', text }));
    assertCode(error, 'guest.limit', memoryMessage);
    assert.match((error as ImageBuilderError).logTail.join('\n'), /Kernel panic/);
  });
});

test('swap takes what the memory does not', async () => {
  await inVm(
    async (session) => {
      const text =
        'mkdir /tmp/all; mount -t tmpfs -o size=1g all /tmp/all; dd if=/dev/zero of=/tmp/all/file bs=1M count=280';
      await session.run({ name: 'fill', text });
      await session.close();
    },
    128 * 1024 ** 2,
  );
});

test('a fork bomb ends its script with the limit named', async () => {
  await inVm(async (session) => {
    const error = await failure(session.run({ name: 'fork', text: 'bomb() { bomb | bomb & }; bomb; sleep 600' }));
    assertCode(error, 'guest.limit', /more processes than the 64 that IMAGEBUILDER_GUEST_PROCESSES allows/);
  });
});

test.after(vm.remove);

test.run();
