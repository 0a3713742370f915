import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import type { Region } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { openGuestTests, output } from './guest-disk.ts';
import { log, openVmTests } from './guest-vm-disk.ts';
import { layeredDisk } from './layered-image.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** The live media of the tests, and packages in their layers. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-live-media-'));
const media = await makeLiveMedia(baseImageCache, () => {});
const names = ['minimal', 'minimal.standard', 'minimal.standard.live'];
const layers = { single: ['/live/filesystem.squashfs'], layered: names.map((name) => `/casper/${name}.squashfs`) };

const report = async (path: string, ...commands: string[]): Promise<string> =>
  (await exec('xorriso', ['-indev', path, '-osirrox', 'on', ...commands], { okExitCodes: [0] })).stdout;

/** Where a file lies inside a medium. */
async function placeOf(path: string, file: string): Promise<Region> {
  const [, block = '', , bytes = ''] =
    /^File data lba: +\d+ , +(\d+) , +(\d+) , +(\d+) , /m.exec(
      await report(path, '-find', file, '-exec', 'report_lba'),
    ) ?? [];
  return { offsetBytes: Number(block) * 2048, sizeBytes: Number(bytes) };
}

for (const kind of ['single', 'layered'] as const) {
  test(`the ${kind} medium boots by BIOS and by UEFI, and its list of sums is right`, async () => {
    const equipment = await report(media[kind], '-report_el_torito', 'plain', '-report_system_area', 'plain');
    assert.match(equipment, /^El Torito boot img : +1 +BIOS/m);
    assert.match(equipment, /^El Torito boot img : +2 +UEFI/m);
    assert.match(equipment, /^System area summary: .*MBR .*grub2-mbr.* GPT$/m);
    const tree = join(directory, kind);
    await report(media[kind], '-extract', '/', tree);
    await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: tree });
    for (const file of layers[kind]) await exec('unsquashfs', ['-stat', join(tree, file)]);
    const { stdout: list } = await exec('sh', [
      '-c',
      'cat "$1"/*/filesystem.packages "$1"/*/filesystem.manifest 2>/dev/null || :',
      'list',
      tree,
    ]);
    assert.match(list, /^jq\t/m);
    assert.is(/^sudo\t/m.test(list), kind === 'single');
  });
}

test('both guests install a package into the layers of a medium, over those below', async () => {
  const vm = await openVmTests('media-vm', { asRoot: true });
  const limits = loadConfig({}).guest;
  const host = await openGuestTests('media-host', () => createHostGuest({ limits, ids: unprivilegedIds, log }));
  await exec('sh', ['-euc', makePackage], { cwd: directory });
  const chain: Region[] = [];
  for (const file of layers.layered.slice(0, 2)) chain.push(await placeOf(media.layered, file));
  for (const tests of [host, vm]) {
    const disk = await tests.beginDisk((place) => layeredDisk({ path: media.layered, layers: chain }, place, 2 ** 28));
    const session = await disk.open();
    assert.is(
      await output(session, 'cat /opt/samples/given-up/*; ls /opt/samples; dpkg-query -W sudo 2>&1 || :'),
      'two\ngiven-up\ndpkg-query: no packages found matching sudo',
    );
    await session.run({ name: 'install', text: 'dpkg -i "$JOB"/folder/*.deb', folder: join(directory, 'packages') });
    await session.close();
    const { stdout } = await exec('tar', ['--list', '--file', disk.changes.path]);
    for (const file of ['usr/bin/sample', 'var/lib/dpkg/status', 'var/lib/dpkg/info/sample.list']) {
      assert.ok(stdout.split('\n').includes(`./${file}`), file);
    }
    const { stdout: status } = await exec('tar', ['-xO', '--file', disk.changes.path, './var/lib/dpkg/status']);
    assert.match(status, /^Package: jq$/m);
    assert.match(status, /^Package: sample\nStatus: install ok installed$/m);
    await disk.end();
    await tests.remove();
  }
});

const makePackage = `
mkdir -p tree/DEBIAN tree/usr/bin packages
printf 'Package: sample\\nVersion: 1\\nArchitecture: all\\nMaintainer: A <a@example.org>\\nDescription: sample\\n' >tree/DEBIAN/control
printf '#!/bin/sh\\necho sample\\n' >tree/usr/bin/sample
chmod -R u=rwX,go=rX tree
dpkg-deb --root-owner-group --build tree packages/sample.deb
`;

test.after(async () => {
  await exec('chmod', ['-R', 'u+w', directory]);
  await rm(directory, { recursive: true });
});

test.run();
