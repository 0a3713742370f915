import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { newestKernel } from '../../lab/images/another-kernel.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { extractMedium } from '../system/extract-medium.ts';
import { openGuestBuilds } from '../system/guest-builds.ts';
import { temporaryFolder } from '../unit/fetch/with-server.ts';

/** A live medium boots the kernel and the initial ramdisk of its live system, after a change of these. */

const id = '5b8b4a52-3b9d-4a5e-9f0a-3f6f2b1c7d10';
/** An initial ramdisk that knows its medium by an id, as casper's on Ubuntu's media. */
const withId: PackageRecipe = {
  name: 'live-id',
  files: {
    '/usr/bin/uuidgen': `#!/bin/sh\necho ${id}\n`,
    '/etc/initramfs-tools/conf.d/live-id': 'export LIVE_GENERATE_UUID=1\n',
  },
  scripts: { postinst: 'update-initramfs -u -k all' },
};
/** An initial ramdisk of an installed system. */
const withoutLive: PackageRecipe = {
  name: 'not-live',
  scripts: { postinst: 'rm /usr/share/initramfs-tools/scripts/live\nupdate-initramfs -u -k all' },
};

const place = await temporaryFolder();
const cleanup = new AsyncDisposableStack();
cleanup.use(place);
const media = await makeLiveMedia(baseImageCache, () => {});
const base = { imageType: 'cd', path: media.single, codename: media.codename } as const;

/** The files of a medium. */
const extract = (path: string, name: string) => extractMedium(path, join(place.path, name));

/** The paths of files that differ, or that only the second tree has; without those that name places on the medium. */
async function differing(tree: string, other: string): Promise<string[]> {
  const { stdout } = await exec('diff', ['-rq', tree, other], { okExitCodes: [0, 1] });
  const changed = [...stdout.matchAll(/^Files (\S+) and /gm)].map(([, path = '']) => path.slice(tree.length + 1));
  const added = [...stdout.matchAll(/^Only in (\S+): (\S+)$/gm)].map(([, folder = '', name = '']) =>
    join(folder, name).slice(other.length + 1),
  );
  const placed = ['boot/grub/i386-pc/eltorito.img', 'boot.catalog'];
  return [...changed, ...added].filter((path) => !placed.includes(path)).sort();
}

const kernelOf = async (tree: string) =>
  /version (\S+)/.exec((await exec('file', ['--brief', join(tree, 'live/vmlinuz')])).stdout)?.[1] ?? '';
const lists = ['live/filesystem.packages', 'live/filesystem.size', 'live/filesystem.squashfs', 'md5sum.txt'];

const tree = await extract(media.single, 'base');
const old = await kernelOf(tree);
const kernel = await newestKernel(old, join(place.path, 'kernel'));
const builds = cleanup.use(await openGuestBuilds(base, [kernel.recipe, withId, withoutLive]));

test('a new kernel comes with its initial ramdisk, under the names that the menus have', async () => {
  const { path, image } = await builds.build('host', [kernel.recipe.name]);
  assert.is(image.warnings, undefined);
  const made = await extract(path, 'kernel-tree');
  assert.is(await kernelOf(made), kernel.version);
  const { stdout: names } = await exec('lsinitramfs', [join(made, 'live/initrd')]);
  assert.match(names, /^scripts\/live$/m);
  assert.ok(names.includes(`\nusr/lib/modules/${kernel.version}/`));
  await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: made });
  assert.equal(await differing(tree, made), [...lists, 'live/initrd', 'live/vmlinuz'].sort());
});

test('a new initial ramdisk of the same kernel comes with the id by which it knows the medium', async () => {
  const { path, image } = await builds.build('host', [withId.name]);
  assert.is(image.warnings, undefined);
  const made = await extract(path, 'id-tree');
  assert.is(await kernelOf(made), old);
  assert.equal(await differing(tree, made), [`.disk/live-uuid-${old}`, ...lists, 'live/initrd'].sort());
  assert.is(await readFile(join(made, `.disk/live-uuid-${old}`), 'utf8'), `${id}\n`);
  await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: made });
});

test('an initial ramdisk that cannot start the live system stays away, and the result says why', async () => {
  const { path, image } = await builds.build('host', [withoutLive.name]);
  assert.is(image.warnings?.length, 1);
  assert.match(image.warnings?.[0] ?? '', /goes on booting the kernel that it has.* has no live-boot/);
  const made = await extract(path, 'old-tree');
  assert.equal(await differing(tree, made), lists);
  assert.equal(await readdir(join(made, 'live')), await readdir(join(tree, 'live')));
});

test.after(() => cleanup.disposeAsync());

test.run();
