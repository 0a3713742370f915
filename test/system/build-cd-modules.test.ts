import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { extractMedium } from './extract-medium.ts';
import { openGuestBuilds } from './guest-builds.ts';

/** A medium of live-boot with three layers, lists of modules, and a boot menu with an entry for each list. */

const layers = { core: 'minimal', desktop: 'minimal.standard', kiosk: 'minimal.standard.live' } as const;
const names = Object.keys(layers) as (keyof typeof layers)[];

const grub = `set timeout=0
menuentry "Desktop" {
	linux	/live/vmlinuz boot=live
	initrd	/live/initrd
}
menuentry "Kiosk" {
	linux	/live/vmlinuz boot=live module=kiosk
	initrd	/live/initrd
}
`;

/** The files of the medium that `makeLiveMedia` makes for casper, in other places. */
async function makeMedium(single: string, layered: string, directory: string): Promise<string> {
  const at = (name: string) => join(directory, name);
  const extract = names.flatMap((name) => ['-extract', `/casper/${layers[name]}.squashfs`, at(`${name}.squashfs`)]);
  await exec('xorriso', ['-osirrox', 'on', '-indev', layered, ...extract]);
  // Neither list names the layers in the order of the alphabet alone: one is in one line, the other ends its lines as DOS does.
  const sums = [];
  for (const name of names) {
    const hex = createHash('sha256')
      .update(await readFile(at(`${name}.squashfs`)))
      .digest('hex');
    sums.push(`${hex} *${name}.squashfs\r\n`);
  }
  const texts: Readonly<Record<string, string>> = {
    'filesystem.module': 'core.squashfs desktop.squashfs\n',
    'kiosk.module': names.map((name) => `${name}.squashfs\r\n`).join(''),
    SHA256SUMS: `\uFEFF${sums.join('')}`,
    'grub.cfg': grub,
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(at(name), text);
  const output = at('modules.iso');
  const maps = [...names.map((name) => `${name}.squashfs`), 'filesystem.module', 'kiosk.module', 'SHA256SUMS'];
  await exec('xorriso', [
    ...['-no_rc', '-indev', single, '-outdev', output, '-joliet', 'on', '-boot_image', 'any', 'replay'],
    ...['-compliance', 'no_emul_toc:joliet_long_names', '-padding', 'included'],
    ...['-rm', '/live/filesystem.squashfs', '/live/filesystem.packages', '/live/filesystem.size', '/md5sum.txt', '--'],
    ...maps.flatMap((name) => ['-map', at(name), `/live/${name}`]),
    ...['-map', at('grub.cfg'), '/boot/grub/grub.cfg'],
  ]);
  return output;
}

const media = await makeLiveMedia(baseImageCache, () => {});
const sample = { name: 'cd-sample', files: { '/opt/sample': 'x' }, fields: { Depends: 'cd-library' } };
const library = { name: 'cd-library', files: { '/opt/library': 'x' }, fields: {} };
let base = '';
const builds = await openGuestBuilds(
  { imageType: 'cd', path: media.single, codename: media.codename },
  [sample, library],
  async (single, directory) => {
    base = await makeMedium(single, media.layered, directory);
    return base;
  },
);
test.after(async () => await builds[Symbol.asyncDispose]());

/** The files of a medium. */
const extract = (path: string, name: string) => extractMedium(path, join(builds.directory, name));

/** Packages by the database of dpkg that a layer has, and so shows to all layers above without one. */
async function packagesIn(tree: string, layer: string): Promise<string[]> {
  const { stdout } = await exec('unsquashfs', ['-cat', join(tree, `live/${layer}.squashfs`), 'var/lib/dpkg/status']);
  return [...stdout.matchAll(/^Package: (.+)$/gm)].map(([, name = '']) => name).sort();
}

async function filesIn(tree: string, layer: string): Promise<string> {
  return (await exec('unsquashfs', ['-l', join(tree, `live/${layer}.squashfs`)])).stdout;
}

test('dpkg is right in every list of modules, and no list of checksums or modules changes its form', async () => {
  const before = await extract(base, 'before');
  const { path } = await builds.build('host', ['cd-sample']);
  const after = await extract(path, 'after');
  const added = ['cd-library', 'cd-sample'];
  for (const layer of ['desktop', 'kiosk']) {
    assert.equal(await packagesIn(after, layer), [...(await packagesIn(before, layer)), ...added].sort(), layer);
  }
  assert.equal(await packagesIn(after, 'core'), await packagesIn(before, 'core'));
  assert.match(await filesIn(after, 'desktop'), /opt\/library$/m);
  assert.not.match(await filesIn(after, 'kiosk'), /opt\/library$/m);
  const { stdout } = await exec('diff', ['-rq', before, after], { okExitCodes: [0, 1] });
  const differing = [...stdout.matchAll(/^Files (\S+) and /gm)].map(([, name = '']) => name.slice(before.length + 1));
  const boot = ['boot/grub/i386-pc/eltorito.img', 'boot.catalog'];
  assert.equal(differing.filter((name) => !boot.includes(name)).sort(), [
    'live/SHA256SUMS',
    'live/desktop.squashfs',
    'live/kiosk.squashfs',
  ]);
  const sums = await readFile(join(after, 'live/SHA256SUMS'), 'utf8');
  assert.match(sums, /^\uFEFF(?:[0-9a-f]{64} \*(?:core|desktop|kiosk)\.squashfs\r\n){3}$/);
  await exec('sh', ['-c', "tail -c +4 SHA256SUMS | tr -d '\\r' | sha256sum --check --strict --quiet"], {
    cwd: join(after, 'live'),
  });
});

test.run();
