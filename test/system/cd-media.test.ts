import { copyFile, link, mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { readIsoFile } from '#lib/iso9660/read-file.ts';
import { assertReplayable } from '#lib/kinds/cd/replayable.ts';
import { failure } from '../failure.ts';
import { workshop } from './replay-workshop.ts';

/** New media out of base media of the kinds that people have: how they boot, which names they have, who has made them. */

const changed = 'live/filesystem.squashfs';
const isolinux = '/usr/lib/ISOLINUX';

/** Files that all of these media have, in a folder `content`, and an image of an EFI system partition. */
async function writeContent(folder: string): Promise<string> {
  const content = join(folder, 'content');
  const put = async (path: string, text: string | Buffer) => {
    await mkdir(dirname(join(content, path)), { recursive: true });
    await writeFile(join(content, path), text);
  };
  await put(changed, Buffer.alloc(300_000, 'layer'));
  await put('live/vmlinuz', 'kernel');
  await put('live/text', 'words '.repeat(50_000));
  await put('md5sum.txt', `${'0'.repeat(32)}  ./${changed}\n`);
  await put('isolinux/isolinux.cfg', 'default live\n');
  await copyFile(join(isolinux, 'isolinux.bin'), join(content, 'isolinux/isolinux.bin'));
  await copyFile('/usr/lib/syslinux/modules/bios/ldlinux.c32', join(content, 'isolinux/ldlinux.c32'));
  await put('boot/grub/efi.img', '');
  const efi = join(content, 'boot/grub/efi.img');
  await truncate(efi, 2 ** 20);
  await exec('mformat', ['-i', efi, '-v', 'ESP', '::']);
  return content;
}

const bios = [
  ...['-c', 'isolinux/boot.cat', '-b', 'isolinux/isolinux.bin', '-no-emul-boot'],
  ...['-boot-load-size', '4', '-boot-info-table'],
];
const uefi = ['-eltorito-alt-boot', '-e', 'boot/grub/efi.img', '-no-emul-boot'];
const hybrid = ['-isohybrid-mbr', join(isolinux, 'isohdpfx.bin')];

type Recipe = (content: string, path: string) => Promise<unknown>;

const mkisofs =
  (...words: string[]): Recipe =>
  (content, path) =>
    exec('xorriso', ['-as', 'mkisofs', '-quiet', '-o', path, ...words, content]);

const genisoimage =
  (...words: string[]): Recipe =>
  (content, path) =>
    exec('genisoimage', ['-quiet', '-o', path, ...words, content]);

const made = (recipe: Recipe) => async (folder: string) => {
  const path = join(folder, 'base.iso');
  await recipe(await writeContent(folder), path);
  return path;
};

const recipes: Readonly<Record<string, Recipe>> = {
  'isolinux alone, by genisoimage (Debian live up to 6)': genisoimage('-r', '-J', '-V', 'Debian 6', ...bios),
  'isolinux as a hybrid (Debian live 7)': mkisofs('-r', '-J', '-V', 'd-live 7', ...bios, ...hybrid),
  'isolinux and UEFI as a hybrid with GPT (Debian live 8 to 11, Ubuntu up to 20.04)': mkisofs(
    ...['-r', '-J', '-joliet-long', '-l', '-V', 'd-live 11.0.0 amd64', '-iso-level', '3', '-partition_offset', '16'],
    ...[...hybrid, ...bios, ...uefi, '-isohybrid-gpt-basdat'],
  ),
  'the same without an offset, so that its first partition is the whole medium (Debian 8 to 10)': mkisofs(
    ...['-r', '-J', '-V', 'whole', ...hybrid, ...bios, ...uefi, '-isohybrid-gpt-basdat'],
  ),
  'the same with an Apple partition map': mkisofs(
    ...['-r', '-V', 'mac', ...hybrid, ...bios, ...uefi, '-isohybrid-gpt-basdat', '-isohybrid-apm-hfsplus'],
  ),
  'UEFI alone': mkisofs('-r', '-J', '-V', 'efi', ...uefi.slice(1)),
  'two images for BIOS': mkisofs(
    '-r',
    '-V',
    'two',
    ...bios,
    '-eltorito-alt-boot',
    '-b',
    'isolinux/ldlinux.c32',
    '-no-emul-boot',
  ),
  'a partition for data in its MBR': async (content, path) => {
    const data = join(dirname(path), 'data.img');
    await writeFile(data, Buffer.alloc(2 ** 20, 'data'));
    await mkisofs(
      '-r',
      '-J',
      '-V',
      'data',
      ...hybrid,
      ...bios,
      ...uefi,
      '-append_partition',
      '3',
      '0x83',
      data,
    )(content, path);
  },
  'a partition for data in its GPT': async (content, path) => {
    const data = join(dirname(path), 'data.img');
    await writeFile(data, Buffer.alloc(2 ** 20, 'data'));
    const efi = ['-append_partition', '2', '0xef', join(content, 'boot/grub/efi.img')];
    const words = [...efi, '-append_partition', '3', '0x83', data, '-appended_part_as_gpt'];
    await mkisofs(
      '-r',
      '-J',
      '-V',
      'data',
      '-partition_offset',
      '16',
      ...hybrid,
      ...bios,
      ...uefi,
      ...words,
    )(content, path);
  },
  'a boot catalogue that no folder shows': genisoimage(
    ...['-r', '-J', '-V', 'hidden', ...bios, '-hide', 'isolinux/boot.cat', '-hide-joliet', 'isolinux/boot.cat'],
  ),
  'a boot catalogue of another name and place': mkisofs(
    '-r',
    '-V',
    'place',
    '-c',
    'my own.catalogue',
    ...bios.slice(2),
  ),
  'a boot image that pretends to be a floppy disk': async (content, path) => {
    const floppy = join(content, 'boot/floppy.img');
    await writeFile(floppy, '');
    await truncate(floppy, 1_474_560);
    await genisoimage('-r', '-V', 'floppy', '-b', 'boot/floppy.img', '-c', 'boot.cat')(content, path);
  },
  'two sessions': async (content, path) => {
    const native = ['-outdev', path, '-volid', 'SESSIONS', '-joliet', 'on', '-map', content, '/'];
    await exec('xorriso', [...native, '-boot_image', 'isolinux', 'dir=/isolinux', '-commit']);
    const second = ['-dev', path, '-joliet', 'on', '-boot_image', 'any', 'keep'];
    await exec('xorriso', [...second, '-map', join(content, 'md5sum.txt'), '/second', '-commit']);
  },
  'bytes behind its end': async (content, path) => {
    await mkisofs('-r', '-J', '-V', 'long', ...hybrid, ...bios, ...uefi, '-isohybrid-gpt-basdat')(content, path);
    await truncate(path, 8 * 2 ** 20 + 1);
  },
  'names that people give to files': async (content, path) => {
    const names = [
      'a b',
      ' b',
      '日本語',
      'ü'.repeat(100),
      '-x',
      `'"$HOME\\`,
      '*[x]?',
      'new\nline',
      'a;1',
      'A',
      'e\u0301',
      '\u00e9',
    ];
    await mkdir(join(content, 'odd names'));
    for (const name of names) await writeFile(join(content, 'odd names', name), name);
    await mkisofs('-r', '-J', '-joliet-long', '-V', 'names', ...bios)(content, path);
  },
  'HFS+ for Apple machines': mkisofs('-r', '-V', 'hfs', ...hybrid, ...bios, ...uefi, '-hfsplus'),
  'folders deeper than ISO 9660 has them': async (content, path) => {
    const deep = join(content, 'a/b/c/d/e/f/g/h/i/j');
    await mkdir(deep, { recursive: true });
    await writeFile(join(deep, 'file'), 'deep');
    await genisoimage('-r', '-J', '-V', 'deep', ...bios)(content, path);
  },
  'a digest of the medium in itself (implantisomd5)': async (content, path) => {
    await mkisofs('-r', '-V', 'implanted', ...bios)(content, path);
    await using medium = await open(path, 'r+');
    await medium.write('ISO MD5SUM = 0123456789abcdef0123456789abcdef;SKIPSECTORS = 15', 16 * 2048 + 883);
  },
  'nothing to boot': mkisofs('-r', '-V', 'none'),
  'a volume id without letters that ISO 9660 allows': mkisofs('-r', '-J', '-V', '-x "$HOME" \\é; #1', ...bios),
  'a volume id of bytes that are no UTF-8': async (content, path) => {
    await mkisofs('-r', '-V', 'name??', ...bios)(content, path);
    await using medium = await open(path, 'r+');
    await medium.write(Buffer.from('name\xe9\xff', 'latin1'), 0, 6, 16 * 2048 + 40);
  },
  'no volume id': mkisofs('-r', '-V', '', ...bios),
  'the long names of ISO 9660:1999': genisoimage('-r', '-iso-level', '4', '-V', 'level 4', ...bios),
};

/** The names and types of the partitions, those of Apple's map too. */
async function partitions(path: string): Promise<string[]> {
  const { stdout } = await exec('xorriso', ['-indev', path, '-report_system_area', 'plain']);
  return stdout.split('\n').filter((line) => /^(System area summary|APM partition (name|type)|GPT type)/.test(line));
}

for (const [what, recipe] of Object.entries(recipes)) {
  test(`a medium with ${what} gets a new layer, and all else stays as it is`, async () => {
    const content = 'new content '.repeat(100_000);
    await using shop = await workshop(made(recipe), { [changed]: content, 'md5sum.txt': 'new\n' });
    await shop.replay();
    const { files } = await shop.compare();
    await using handle = await open(shop.outputPath, 'r');
    assert.is(String(await readIsoFile(handle, files, changed, 10_000_000)), content);
    assert.equal(await partitions(shop.outputPath), await partitions(shop.basePath));
  });
}

const refused: Readonly<Record<string, readonly [recipe: Recipe, expected: RegExp]>> = {
  'the short names of ISO 9660': [genisoimage('-V', 'plain', ...bios), /has the short names of ISO 9660 alone/],
  'Joliet names': [genisoimage('-J', '-V', 'joliet', ...bios), /has Joliet names alone/],
  'a file compressed by zisofs': [
    (content, path) =>
      exec('xorriso', ['-outdev', path, '-map', content, '/', '-set_filter_r', '--zisofs', '/live/text', '--']),
    /\/live\/text is compressed by zisofs/,
  ],
  'a GPT and no MBR': [
    mkisofs('-r', '-V', 'gpt', ...bios, ...uefi, '-part_like_isohybrid', '-isohybrid-gpt-basdat'),
    /has a GPT without an MBR/,
  ],
  'a partition that a person has added to its GPT': [
    async (content, path) => {
      const grub = ['--grub2-mbr', '/usr/lib/grub/i386-pc/boot_hybrid.img', '-partition_offset', '16'];
      const efi = ['-append_partition', '2', '0xef', join(content, 'boot/grub/efi.img'), '-appended_part_as_gpt'];
      await mkisofs('-r', '-V', 'added', ...grub, ...bios, ...efi, ...uefi)(content, path);
      await truncate(path, 8 * 2 ** 20);
      const script = `sfdisk --relocate gpt-bak-std "$1"; echo "start=12288, size=2048" | sfdisk --append --no-reread "$1"`;
      await exec('sh', ['-euc', script, 'add', path]);
    },
    /partition 4 of its GPT lies behind its file system/,
  ],
};

for (const [what, [recipe, expected]] of Object.entries(refused)) {
  test(`a medium with ${what} is refused before anything is done, since a new one would differ`, async () => {
    await using shop = await workshop(made(recipe), { [changed]: 'layer' });
    const { code, message } = await failure((async () => assertReplayable(shop.base))());
    assert.is(code, 'image.unsupported');
    assert.match(message, expected);
    await shop.replay();
    assert.is((await failure(shop.compare())).code, 'image.output');
  });
}

test('of several names of one file, those that are not changed keep the old content', async () => {
  const twins: Recipe = async (content, path) => {
    for (const name of ['live/initrd', 'live/initrd.old'])
      await link(join(content, 'live/vmlinuz'), join(content, name));
    await mkisofs('-r', '-J', '--hardlinks', ...bios)(content, path);
  };
  await using shop = await workshop(made(twins), { 'live/vmlinuz': 'another kernel' });
  const place = (name: string) => shop.base.files.get(`live/${name}`)?.extents[0]?.offsetBytes;
  assert.is(place('initrd'), place('vmlinuz'));
  await shop.replay();
  const { files } = await shop.compare();
  await using handle = await open(shop.outputPath, 'r');
  for (const [name, content] of [
    ['vmlinuz', 'another kernel'],
    ['initrd', 'kernel'],
    ['initrd.old', 'kernel'],
  ] as const) {
    assert.is(String(await readIsoFile(handle, files, `live/${name}`, 100)), content);
  }
});

test.run();
