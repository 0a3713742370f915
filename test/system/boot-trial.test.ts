import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ExecError, exec } from '#lib/exec.ts';
import { makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { startLaunchpad } from '../../lab/servers/launchpad.ts';
import { failure } from './guest-disk.ts';

/** `boot_check`: the finished image is booted before it is stored. */

const services = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'boot-trial-'));
services.defer(() => rm(directory, { recursive: true, force: true }));
const base = await makeBaseImage({ cacheDirectory: baseImageCache });
const images = services.use(await startImageServer(base.path));
// The boot check by files alone finds nothing wrong with this one.
const scripts = { postinst: 'printf "#!/nowhere\\n" >/usr/lib/systemd/systemd' };
const packages = [{ name: 'libfoo' }, { name: 'broken-init', scripts }];
const ppa = { owner: 'project', name: 'ppaname', series: [base.codename], packages };
const launchpad = services.use(await startLaunchpad({ ppas: [ppa] }));
const program = join(import.meta.dirname, '../../bin/imagebuilder.ts');
const store = join(directory, 'store');

function build(...words: readonly string[]) {
  const about = ['--image-url', images.url, '--series', base.codename, '--ppa', 'ppa:project/ppaname'];
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
  const failed = (await failure(build('--boot-check', 'broken-init'))) as ExecError;
  assert.match(failed.stderr, /by BIOS the image does not boot: its console says/);
  assert.match(failed.stderr, 'image.unbootable');
  assert.equal(await readdir(store).catch(() => []), []);
  assert.equal(await readdir(join(directory, 'work')), []);
});

test('an image that boots by BIOS and by UEFI, with the kernel that its menu names, is stored', async () => {
  const { stdout, stderr } = await build('--boot-check', 'libfoo');
  assert.match(stdout, /"location":"file:/);
  for (const name of ['BIOS', 'UEFI']) {
    assert.match(stderr, `booting the new image by ${name}`);
    assert.match(stderr, new RegExp(`by ${name} the system is up, with the kernel \\d`));
  }
  assert.equal(await readdir(join(directory, 'work')), []);
});

test.after(() => services.disposeAsync());

test.run();
