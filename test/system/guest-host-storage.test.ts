import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { execInside } from '#lib/guest/host/namespace.ts';
import { startSupervisor } from '#lib/guest/host/supervision.ts';
import { privilegeArguments } from '#lib/privileges.ts';
import { eventually } from './serve/command.ts';

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
head -c 4 "$2" && head -c 3 "$3" && echo >>"$3" && echo done
`;

test('the storage daemon has no capabilities, and a room with nothing but the disk', async () => {
  const path = (name: string) => join(directory, name);
  for (const name of ['base, odd', 'build']) await mkdir(path(name));
  const base = path('base, odd/image');
  const overlay = path('build/overlay, odd');
  await writeFile(base, 'base'.padEnd(2 ** 20, ' '), { mode: 0o400 });
  await writeFile(path('canary'), 'root’s alone', { mode: 0o600 });
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, overlay]);
  const guest = path('build/guest');
  await mkdir(guest);
  const exportPath = join(guest, 'disk.raw');
  await writeFile(exportPath, '');
  await using supervision = await startSupervisor(
    { overlayPath: overlay, exportPath, cgroups: [] },
    guest,
    AbortSignal.timeout(30_000),
  );
  const use = 'head -c 4 "$1"; printf changed | dd of="$1" conv=notrunc,fsync status=none; head -c 7 "$1"';
  const used = await execInside(supervision.processId, ['sh', '-c', use, 'sh', exportPath]);
  assert.is(used.stdout, 'basechanged');

  const daemon = await eventually('the daemon runs', async () => {
    for (const name of await readdir('/proc')) {
      const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
      if (line.startsWith('qemu-storage-daemon\0') && line.includes(path('build'))) return Number(name);
    }
    return undefined;
  });
  const status = (await readFile(`/proc/${daemon}/status`, 'utf8')).split('\n');
  for (const name of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
    assert.ok(status.includes(`${name}:\t0000000000000000`), status.join('\n'));
  }
  assert.ok(status.includes('NoNewPrivs:\t1'), status.join('\n'));

  const inItsPlace = ['--target', String(daemon), '--mount', '--pid', '--ipc', '--root', '--wd', '--'];
  const { stdout } = await exec('nsenter', [
    ...[...inItsPlace, 'setpriv', ...privilegeArguments(null), '--', 'sh', '-c', attack, 'sh'],
    ...[path('canary'), base, overlay, String(process.pid)],
  ]);
  assert.is(stdout, 'baseQFIdone\n');
  assert.is(await readFile(path('canary'), 'utf8'), 'root’s alone');
  await supervision.stop();
  const { stdout: written } = await exec('qemu-io', ['-r', '-f', 'qcow2', '-c', 'read -v 0 7', overlay]);
  assert.match(written, 'changed');
});

test.run();
