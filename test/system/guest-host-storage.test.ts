import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { lendDisk } from '#lib/guest/host/lent-disk.ts';
import { execInside } from '#lib/guest/host/namespace.ts';
import { startSupervisor } from '#lib/guest/host/supervision.ts';
import { privilegeArguments } from '#lib/privileges.ts';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import { assertUnprivileged, unprivilegedIds } from './unprivileged.ts';

/** The storage daemon of the host guest: what a stranger's image that takes it over can do. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-storage-'));
test.after(() => rm(directory, { recursive: true, force: true }));

/** Fails at everything but to read the base and write the overlay; prints what went through. */
const attack = `
cat "$1" && echo read the canary
echo >"$1" && echo wrote the canary
[ -e /etc ] || [ -e /proc ] && echo sees folders of the worker
echo >>"$2" && echo wrote to the base
echo >/usr/canary && echo wrote to programs
kill -s 0 "$4" && echo reached a process of the worker
mknod /tmp/disk b 7 0 && echo made a device
mount -t tmpfs none /usr && echo mounted
unshare --user true && echo made a user namespace
perl -e "$5" && echo found a key of root
head -c 4 "$2" && head -c 3 "$3" && echo >>"$3" && echo done
`;

/**
 * Programs for perl that put a key into the keyring of the user, for a minute, and look for it: add_key, KEYCTL_SET_TIMEOUT
 * and KEYCTL_SEARCH (keyctl(2)) by the numbers of x86-64.
 */
const key = {
  add: 'my ($type, $name) = qw(user imagebuilder); my $id = syscall(248, $type, $name, $name, 12, -4); exit(syscall(250, 15, $id, 60) < 0)',
  find: 'my ($type, $name) = qw(user imagebuilder); exit(syscall(250, 10, -4, $type, $name, 0) < 0)',
};

test('the storage daemon has an unprivileged user of its own, and a room with nothing but the disk', async () => {
  const path = (name: string) => join(directory, name);
  for (const name of ['base, odd', 'build']) await mkdir(path(name));
  const base = path('base, odd/image');
  const overlay = path('build/overlay, odd');
  await writeFile(base, 'base'.padEnd(2 ** 20, ' '), { mode: 0o400 });
  await writeFile(path('canary'), 'root’s alone', { mode: 0o600 });
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, overlay]);
  await exec('perl', ['-e', key.add]);
  await exec('perl', ['-e', key.find]);
  const permissions = async () => (await Promise.all([stat(base), stat(overlay)])).map(({ mode, gid }) => [mode, gid]);
  const before = await permissions();
  await using lent = await lendDisk({ overlayPath: overlay, base: { path: base, format: 'raw' } }, unprivilegedIds);
  const guest = path('build/guest');
  await mkdir(guest);
  const exportPath = join(guest, 'disk.raw');
  await writeFile(exportPath, '');
  await using supervision = await startSupervisor(
    { exportPath, cgroups: [] },
    lent.disk,
    guest,
    AbortSignal.timeout(30_000),
  );
  const use = 'head -c 4 "$1"; printf changed | dd of="$1" conv=notrunc,fsync status=none; head -c 7 "$1"';
  const used = await execInside(supervision.processId, ['sh', '-c', use, 'sh', exportPath]);
  assert.is(used.stdout, 'basechanged');

  const daemon = await waitForProcess(guest, /^qemu-storage-daemon /);
  const id = await assertUnprivileged(daemon);
  const inItsPlace = ['--target', String(daemon), '--mount', '--pid', '--ipc', '--root', '--wd', '--'];
  const { stdout } = await exec('nsenter', [
    ...[...inItsPlace, 'setpriv', ...privilegeArguments({ id, groups: [] }), '--', 'sh', '-c', attack, 'sh'],
    ...[path('canary'), '/base', '/overlay', String(process.pid), key.find],
  ]);
  assert.is(stdout, 'baseQFIdone\n');
  assert.is(await readFile(path('canary'), 'utf8'), 'root’s alone');
  await supervision.stop();
  await lent[Symbol.asyncDispose]();
  assert.equal(await permissions(), before);
  const { stdout: written } = await exec('qemu-io', ['-r', '-f', 'qcow2', '-c', 'read -v 0 7', overlay]);
  assert.match(written, 'changed');
});

test.run();
