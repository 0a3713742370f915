import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { writeCpio } from '#lib/guest/vm/cpio.ts';
import { newestKernel } from '../../lab/images/another-kernel.ts';
import { bootImage } from '../../lab/images/boot.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { markerPackage } from '../../lab/servers/launchpad.ts';
import { failure } from '../failure.ts';
import { changeMedium } from '../system/change-medium.ts';
import { extractMedium } from '../system/extract-medium.ts';
import { openGuestBuilds } from '../system/guest-builds.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** A rebuilt live medium as the disk of a machine, with each firmware. */

test('a live medium that was rebuilt boots by BIOS and by UEFI with Secure Boot, and runs the service of a new package', async () => {
  const media = await makeLiveMedia(baseImageCache, () => {});
  const base = { imageType: 'cd', path: media.single, codename: media.codename } as const;
  await using builds = await openGuestBuilds(base, [markerPackage('cd-marker', 'cd-marker-was-here')]);
  const { path } = await builds.build('vm', ['cd-marker']);
  const boot = async (firmware: 'bios' | 'secure-boot') =>
    await bootImage({ path, format: 'raw', firmware, until: /cd-marker-was-here/ });
  assert.not.match(await boot('bios'), /Secure boot enabled/);
  assert.match(await boot('secure-boot'), /Secure boot enabled/);
});

test('a live medium whose live system got a newer kernel boots that one', async () => {
  const media = await makeLiveMedia(baseImageCache, () => {});
  const base = { imageType: 'cd', path: media.single, codename: media.codename } as const;
  await using folder = await temporaryFolder();
  const kernel = await newestKernel('6.1.0', join(folder.path, 'kernel'));
  const marker = markerPackage('cd-marker', 'cd-marker-was-here');
  await using builds = await openGuestBuilds(base, [kernel.recipe, marker]);
  const { path } = await builds.build('host', [kernel.recipe.name, 'cd-marker']);
  const log = await bootImage({ path, format: 'raw', firmware: 'bios', until: /cd-marker-was-here/ });
  assert.ok(log.includes(`Linux version ${kernel.version} `));
});

test('a medium with layers boots, with Secure Boot on, the newer kernel and the packages that the lowest of them has got', async () => {
  const media = await makeLiveMedia(baseImageCache, () => {});
  const base = { imageType: 'cd', path: media.layered, codename: media.codename } as const;
  await using folder = await temporaryFolder();
  const kernel = await newestKernel('6.1.0', join(folder.path, 'kernel'));
  await using builds = await openGuestBuilds(base, [kernel.recipe, markerPackage('cd-marker', 'cd-marker-was-here')]);
  const { path } = await builds.build('host', [kernel.recipe.name, 'cd-marker'], { cd: { source: 'small-minimal' } });
  const log = await bootImage({ path, format: 'raw', firmware: 'secure-boot', until: /cd-marker-was-here/ });
  assert.ok(log.includes(`Linux version ${kernel.version} `));
  assert.match(log, 'Secure boot enabled');
});

const isolinuxMenu = `default live
label live
  kernel /live/vmlinuz
  append initrd=/live/initrd boot=live console=ttyS0
`;

/** The medium with isolinux for BIOS in the place of GRUB, as Debian's live media up to 12 have it. */
async function makeIsolinuxMedium(medium: string, directory: string): Promise<string> {
  const tree = await extractMedium(medium, join(directory, 'tree'));
  await rm(join(tree, 'boot'), { recursive: true });
  await mkdir(join(tree, 'isolinux'));
  await copyFile('/usr/lib/ISOLINUX/isolinux.bin', join(tree, 'isolinux/isolinux.bin'));
  await copyFile('/usr/lib/syslinux/modules/bios/ldlinux.c32', join(tree, 'isolinux/ldlinux.c32'));
  await writeFile(join(tree, 'isolinux/isolinux.cfg'), isolinuxMenu);
  const output = join(directory, 'isolinux.iso');
  await exec('xorriso', [
    ...['-as', 'mkisofs', '-quiet', '-r', '-J', '-joliet-long', '-l', '-V', 'LIVE', '-o', output],
    ...['-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat', '-no-emul-boot', '-boot-load-size', '4'],
    ...['-boot-info-table', '-isohybrid-mbr', '/usr/lib/ISOLINUX/isohdpfx.bin', tree],
  ]);
  await rm(tree, { recursive: true });
  return output;
}

test('a medium that isolinux starts boots with a new package', async () => {
  const media = await makeLiveMedia(baseImageCache, () => {});
  const base = { imageType: 'cd', path: media.single, codename: media.codename } as const;
  const marker = markerPackage('cd-marker', 'cd-marker-was-here');
  await using builds = await openGuestBuilds(base, [marker], makeIsolinuxMedium);
  const { path } = await builds.build('host', ['cd-marker']);
  await bootImage({ path, format: 'raw', firmware: 'bios', until: /cd-marker-was-here/ });
});

test('a kernel that panics ends the wait for its system at once', async () => {
  const media = await makeLiveMedia(baseImageCache, () => {});
  await using folder = await temporaryFolder();
  const empty = writeCpio([{ kind: 'folder', path: 'empty', mode: 0o755 }]);
  const path = await changeMedium(media.single, join(folder.path, 'panics.iso'), { '/live/initrd': empty });
  const error = await failure(bootImage({ path, format: 'raw', until: /cd-marker-was-here/ }));
  assert.match(error.message, /before its kernel panicked/);
});

test.run();
