import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { guestDirectory, guestName } from '#lib/guest/identity.ts';
import { sweepGuest } from '#lib/guest/sweep.ts';
import { findKernel } from '#lib/guest/vm/kernel.ts';
import { privilegeArguments } from '#lib/privileges.ts';
import { output } from './guest-disk.ts';
import { makeTestImage } from './guest-image.ts';
import { emulator, log, openVmTests } from './guest-vm-disk.ts';
import { assertUnprivileged, unprivilegedIds } from './unprivileged.ts';

/** The vm guest of a worker that is root: what QEMU may do there. */

const vm = await openVmTests('vm-privileges', { asRoot: true });
const { directory, withDisk } = vm;
const image = await makeTestImage(directory, 'plain');
// Root's alone, as all else in the folder of these tests is, and the kernel as Ubuntu has it.
await chmod(image.path, 0o600);
const kernel = await findKernel('');
const vmKernelPath = join(directory, `vmlinuz-${kernel.release}`);
await copyFile(kernel.imagePath, vmKernelPath);
await chmod(vmKernelPath, 0o600);
const ofRoot = vm.guest({ vmKernelPath });

test('QEMU of root is a user without rights, another one for each build, that reaches no file by its path', async () => {
  await withDisk(image, async (disk) => {
    await chmod(disk.overlayPath, 0o600);
    await using session = await disk.open({}, ofRoot);
    const first = await emulator(disk);
    const userId = await assertUnprivileged(first);
    await withDisk(image, async (other) => {
      await using _ = await other.open({}, ofRoot);
      const second = await emulator(other);
      const otherId = await assertUnprivileged(second);
      assert.is.not(otherId, userId);
      const asFirst = [...privilegeArguments({ id: userId, groups: [] }), '--', 'sh', '-c'];
      const tried = 'kill -0 "$1" && echo signalled; cat "/proc/$1/environ" "$2" "$3" && echo read; :';
      const files = [other.overlayPath, image.path];
      const { stdout } = await exec('setpriv', [...asFirst, tried, 'sh', String(second), ...files]);
      assert.is(stdout, '');
    });
    await session.run({ name: 'change', text: 'echo new >/etc/new; sync' });
    await session.close();
    await using again = await disk.open();
    assert.is(await output(again, 'cat /etc/new'), 'new');
  });
});

test('a vm of another user that has outlived its worker is found by its name, and ended', async () => {
  const workDirectory = join(directory, 'stray,1');
  await mkdir(guestDirectory(workDirectory), { recursive: true });
  const user = { id: unprivilegedIds.last, groups: [] };
  const command = ['-M', 'none', '-nodefaults', '-display', 'none', '-S', '-name'];
  const name = guestName(guestDirectory(workDirectory));
  // Its environment says nothing, as where a worker may not read that of another user.
  const stray = spawn(
    'setpriv',
    [...privilegeArguments(user), '--', 'env', '-i', '/usr/bin/qemu-system-x86_64', ...command, name],
    { stdio: 'ignore' },
  );
  const gone = once(stray, 'exit');
  while (!(await readFile(`/proc/${stray.pid}/cmdline`, 'utf8')).startsWith('/usr/bin/qemu-system')) await sleep(20);
  process.kill(stray.pid ?? 0, 'SIGSTOP');
  await sweepGuest(workDirectory, { log });
  assert.equal(await gone, [null, 'SIGKILL']);
  await rm(workDirectory, { recursive: true });
});

test.after(vm.remove);

test.run();
