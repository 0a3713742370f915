import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { bootImage } from '../../lab/images/boot.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { whenLong } from '../runner/long.ts';
import { extractMedium } from './extract-medium.ts';
import { type GuestBuilds, openGuestBuilds } from './guest-builds.ts';

/** A live medium with one layer, built by both guests. */

/** Longer than the 100 bytes that a header of tar has for it. */
const longTarget = `../../lib/${'cd-sample/'.repeat(12)}end`;

const sample: PackageRecipe = {
  name: 'cd-sample',
  fields: {},
  files: { '/usr/bin/cd-sample': '#!/bin/sh\necho sample\n', '/etc/cd-sample.conf': 'colour = none\n' },
  conffiles: ['/etc/cd-sample.conf'],
  links: { '/usr/share/cd-sample/link': '../../bin/cd-sample', '/usr/share/cd-sample/long': longTarget },
  scripts: {
    postinst: `
chown 123:456 /etc/cd-sample.conf
chmod 4755 /usr/bin/cd-sample
ln -f /usr/bin/cd-sample /usr/bin/cd-sample-again
install -d -m 2770 /var/lib/cd-sample
rm -rf /opt/samples/given-up
`,
  },
};

const cleanup = new AsyncDisposableStack();
let builds: GuestBuilds;
const trees = new Map<string, string>();
const media = new Map<string, string>();
const bootLines: string[] = [];
const layerPath = 'live/filesystem.squashfs';

/** The files of a medium. */
const extract = (path: string, name: string) => extractMedium(path, join(builds.directory, name));

/** The words of xorriso about a medium's volume and its ways to boot, without places. */
async function equipment(path: string): Promise<string> {
  const { stdout } = await exec('xorriso', [
    '-indev',
    path,
    '-pvd_info',
    '-report_el_torito',
    'plain',
    '-report_system_area',
    'plain',
  ]);
  const lines = stdout
    .split('\n')
    .filter((line) => /^(Volume Id|System area summary|El Torito img (path|opts))/.test(line));
  const boots = [...stdout.matchAll(/^El Torito boot img : +(\d+) +(\w+) +(\w+)/gm)].map((match) => match.slice(1));
  return JSON.stringify([lines, boots]);
}

test('a live medium gets a package of a PPA by both guests', async () => {
  const { single, codename } = await makeLiveMedia(baseImageCache, () => {});
  const base = { imageType: 'cd', path: single, codename } as const;
  builds = cleanup.use(await openGuestBuilds(base, [sample]));
  trees.set('base', await extract(single, 'base'));
  for (const guest of ['host', 'vm'] as const) {
    // Both make the same medium.
    const bootCheck = guest === 'host';
    const onLine = (line: string) => bootLines.push(line);
    const environment = { IMAGEBUILDER_FINISHED_CACHE_SIZE: bootCheck ? '1G' : '0' };
    const options = bootCheck ? { bootCheck, onLine, environment } : { environment };
    const { path, image } = await builds.build(guest, ['cd-sample'], options);
    media.set(guest, path);
    assert.is(image.format, 'iso');
    assert.equal((await hashFile(path)).checksums, image.checksums);
    assert.ok(image.packages?.some(({ name }) => name === 'cd-sample'));
    assert.is(await equipment(path), await equipment(single));
    trees.set(guest, await extract(path, guest));
    if (!bootCheck) continue;
    const folder = join(builds.directory, 'cache', 'finished', 'blobs');
    const kept = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
    const keptBytes = kept.reduce((sum, size) => sum + size, 0);
    assert.ok(
      keptBytes < image.size / 3,
      `of ${image.size} bytes, the cache has ${keptBytes}: the base has the others`,
    );
    const again = await builds.build(guest, ['cd-sample'], { bootCheck, environment });
    assert.ok(again.image.reused, 'the same again is taken from the cache, with the verdict of its boot check');
    assert.equal((await hashFile(again.path)).checksums, image.checksums);
  }
});

const treeOf = (name: string) => trees.get(name) ?? '';

for (const guest of ['host', 'vm'] as const) {
  test(`${guest}: its lists are right, and no file is another that the change does not concern`, async () => {
    const tree = treeOf(guest);
    await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: tree });
    const { stdout } = await exec('diff', ['-rq', treeOf('base'), tree], { okExitCodes: [0, 1] });
    const differing = [...stdout.matchAll(/^Files (\S+) and /gm)].map(([, path = '']) =>
      path.slice(treeOf('base').length + 1),
    );
    const boot = ['boot/grub/i386-pc/eltorito.img', 'boot.catalog'];
    assert.equal(
      differing.filter((path) => !boot.includes(path)).sort(),
      [layerPath, 'live/filesystem.packages', 'live/filesystem.size', 'md5sum.txt'].sort(),
    );
    const [before, after] = await Promise.all(
      [treeOf('base'), tree].map(async (each) =>
        (await readFile(join(each, 'live/filesystem.packages'), 'utf8')).split('\n'),
      ),
    );
    const added = after?.filter((line) => !before?.includes(line)) ?? [];
    assert.is(added.length, 1);
    assert.match(added[0] ?? '', /^cd-sample\t/);
    assert.is(after?.length, (before?.length ?? 0) + 1);
  });
}

/** The files of a layer, without times and sizes: times differ, and the sizes of dpkg's own files and of logs do. */
async function list(name: string): Promise<string[]> {
  const { stdout } = await exec('unsquashfs', ['-lln', join(treeOf(name), layerPath)]);
  return stdout.split('\n').map((line) => line.replace(/ +\d+ \d{4}-\d\d-\d\d \d\d:\d\d /, ' '));
}

test('both layers hold the package alike, and what it has taken away is gone', async () => {
  const [host, vm] = [await list('host'), await list('vm')];
  assert.equal(host, vm);
  const has = (pattern: RegExp) =>
    assert.ok(
      host.some((line) => pattern.test(line)),
      String(pattern),
    );
  has(/^-rwsr-xr-x 0\/0 squashfs-root\/usr\/bin\/cd-sample$/);
  has(/^-rw-r--r-- 123\/456 squashfs-root\/etc\/cd-sample\.conf$/);
  has(/^drwxrws--- 0\/0 squashfs-root\/var\/lib\/cd-sample$/);
  assert.ok(host.some((line) => line.endsWith(`squashfs-root/usr/share/cd-sample/long -> ${longTarget}`)));
  assert.not(host.some((line) => line.includes('given-up') || line.startsWith('c--------- 0/0')));
});

test('a compact layer has the same files in fewer bytes', async () => {
  const lines: string[] = [];
  const { path } = await builds.build('host', ['cd-sample'], {
    cd: { compact: true },
    onLine: (line) => lines.push(line),
  });
  assert.ok(
    lines.some((line) => line.startsWith('/live/filesystem.squashfs: the layer was made compact: ')),
    lines.join('\n'),
  );
  trees.set('compact', await extract(path, 'compact'));
  const [spliced, compact] = [join(treeOf('host'), layerPath), join(treeOf('compact'), layerPath)];
  assert.equal(await list('compact'), await list('host'));
  assert.ok((await stat(compact)).size < (await stat(spliced)).size);
  await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: treeOf('compact') });
});

test('the boot check has booted it by both firmwares, from a CD and from a disk', () => {
  const lines = bootLines.join('\n');
  for (const firmware of ['BIOS', 'UEFI']) {
    assert.match(lines, new RegExp(`by ${firmware} from a CD the system is up, with the kernel \\d`));
    assert.match(lines, `by ${firmware} from a disk the boot loader has loaded the kernel and the initial ramdisk`);
  }
});

whenLong(test)('firmware with Secure Boot on starts it', async () => {
  const path = media.get('vm') ?? '';
  await bootImage({ path, format: 'raw', firmware: 'secure-boot', until: /Secure boot enabled/ });
});

test.after(() => cleanup.disposeAsync());

test.run();
