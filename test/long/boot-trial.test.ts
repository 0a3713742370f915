import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { type ExecError, exec } from '#lib/exec.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { createLog } from '#lib/log.ts';
import { makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { startLaunchpad } from '../../lab/servers/launchpad.ts';
import { failure, openGuestTests } from '../system/guest-disk.ts';
import { makeMbrImage } from '../system/mbr-image.ts';
import { unprivilegedIds } from '../system/unprivileged.ts';

/** `boot_check`: the finished image is booted before it is stored. */

const services = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'boot-trial-'));
services.defer(() => rm(directory, { recursive: true, force: true }));
const base = await makeBaseImage({ cacheDirectory: baseImageCache });
const images = services.use(await startImageServer(base.path));
// The boot check by files alone finds nothing wrong with this one.
const scripts = { postinst: 'printf "#!/nowhere\\n" >/usr/lib/systemd/systemd' };
const initramfs = { postinst: 'update-initramfs -u' };
const packages = [{ name: 'libfoo' }, { name: 'broken-init', scripts }, { name: 'new-initramfs', scripts: initramfs }];
const ppa = { owner: 'project', name: 'ppaname', series: [base.codename], packages };
const launchpad = services.use(await startLaunchpad({ ppas: [ppa] }));
const program = join(import.meta.dirname, '../../bin/imagebuilder.ts');
const store = join(directory, 'store');

function build(words: readonly string[], url = images.url) {
  const about = ['--image-url', url, '--series', base.codename, '--ppa', 'ppa:project/ppaname'];
  return exec(process.execPath, [program, 'build', '--here', ...about, '--json', ...words], {
    env: {
      IMAGEBUILDER_GUEST: 'host',
      IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
      IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
      IMAGEBUILDER_STORE_DIRECTORY: store,
      IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
      IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
      IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
    },
  });
}

test('an image whose system does not come up is not stored, and the error shows the console', async () => {
  const failed = (await failure(build(['--boot-check', 'broken-init']))) as ExecError;
  assert.match(failed.stderr, /by BIOS the image does not boot: its console says/);
  assert.match(failed.stderr, 'image.unbootable');
  assert.equal(await readdir(store).catch(() => []), []);
  assert.equal(await readdir(join(directory, 'work')), []);
});

test('an image that boots by BIOS and by UEFI, with the kernel that its menu names, is stored', async () => {
  const { stdout, stderr } = await build(['--boot-check', 'libfoo']);
  assert.match(stdout, /"location":"file:/);
  for (const name of ['BIOS', 'UEFI']) {
    assert.match(stderr, `booting the new image by ${name}`);
    assert.match(stderr, new RegExp(`by ${name} the system is up, with the kernel \\d`));
  }
  assert.equal(await readdir(join(directory, 'work')), []);
});

test('a disk with one partition in a master boot record boots by BIOS with a new initial ramdisk', async () => {
  const { partitions } = await inspectImage(base.path, { maximumVirtualBytes: 2 ** 40 });
  const root = partitions.find(({ number }) => number === 1);
  assert.ok(root);
  const ids = unprivilegedIds;
  const log = createLog({ level: 'error' });
  const tests = await openGuestTests('mbr', () => createHostGuest({ limits: loadConfig({}).guest, ids, log }));
  services.defer(() => tests.remove());
  let path = '';
  await tests.withDisk({ path: base.path, partitions }, async (disk) => {
    await using session = await disk.open();
    path = await makeMbrImage(tests.directory, { path: base.path, root, session });
    await session.close();
  });
  await using mbr = await startImageServer(path);
  const { stdout, stderr } = await build(['--boot-check', 'new-initramfs'], mbr.url);
  assert.match(stdout, /"location":"file:/);
  assert.match(stderr, 'by BIOS the system is up');
  assert.not.match(stderr, 'booting the new image by UEFI');
});

test.after(() => services.disposeAsync());

test.run();
