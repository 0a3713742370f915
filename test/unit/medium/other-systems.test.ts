import { open } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IsoEntry } from '#lib/iso9660/tree.ts';
import type { LiveStart } from '#lib/medium/medium.ts';
import { findOtherSystems, type OtherSystem } from '#lib/medium/other-systems.ts';
import { recogniseMedium } from '#lib/medium/recognise.ts';
import { temporaryFolder } from '../image/temporary.ts';
import { writeMedium } from '../iso9660/plain-medium.ts';

/** Media whose system, or a part of it, is another file system than SquashFS. */

/** A file that is too small for its file system, and has the marks of it. */
function marked(marks: readonly (readonly [offset: number, hex: string])[], bytes = 8192): Buffer {
  const content = Buffer.alloc(bytes);
  for (const [offset, hex] of marks) Buffer.from(hex, 'hex').copy(content, offset);
  return content;
}

const squashfs = Buffer.from('hsqs'.padEnd(4096));
const erofs = marked([[1024, 'e2e1f5e0']]);
/** With extents, as ext4 alone has them. */
const ext4 = marked([
  [1024 + 0x38, '53ef'],
  [1024 + 0x60, '40'],
]);
const fat = marked([
  [11, '0002010100024000000000f80100'],
  [54, '4641543132202020'],
  [510, '55aa'],
]);

async function find(
  contents: Readonly<Record<string, Buffer | string>>,
  folders: readonly string[] = [],
): Promise<string[]> {
  await using folder = await temporaryFolder();
  const files = await writeMedium(folder.file('medium'), contents);
  const tree: IsoEntry = { type: 'folder', sizeBytes: 0, extents: [], target: null, encoding: null, owner: null };
  const all = new Map([...files, ...folders.map((path) => [path, tree] as const)]);
  await using handle = await open(folder.file('medium'), 'r');
  const found = await findOtherSystems(handle, all, new Set(['casper', 'live']));
  return found.map(({ path, content }) => `${path}: ${content}`).sort();
}

test('file systems are found by their content, whatever their name, and layers and boot images are none', async () => {
  const large = (content: Buffer) => Buffer.concat([content, Buffer.alloc(2 ** 20)]);
  const found = await find(
    {
      'live/filesystem.squashfs': squashfs,
      'live/other.squashfs': erofs,
      'live/filesystem.ext4': ext4,
      'live/empty.xfs': 'x'.repeat(600),
      'LiveOS/squashfs.img': squashfs,
      'LiveOS/rootfs.img': ext4,
      'antiX/linuxfs': large(squashfs),
      'boot/grub/efi.img': fat,
      'pool/main/x.img': ext4,
      'preseed/core.snap': large(squashfs),
      'notes.ext4': 'text',
    },
    ['live/plain.dir', 'boot/x.dir', 'live/sub'],
  );
  assert.equal(found, [
    'LiveOS/rootfs.img: an ext4 file system',
    'LiveOS/squashfs.img: a SquashFS',
    'antiX/linuxfs: a SquashFS',
    'live/empty.xfs: a file without a known file system',
    'live/filesystem.ext4: an ext4 file system',
    'live/other.squashfs: an EROFS file system',
    'live/plain.dir: a folder',
  ]);
});

test('of many files, the largest are looked into', async () => {
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`a/${index}.img`, 'x'.repeat(2000)]));
  assert.equal(await find({ ...many, 'a/large.img': ext4 }), ['a/large.img: an ext4 file system']);
});

interface Layout {
  readonly paths: readonly string[];
  readonly others: Readonly<Record<string, string>>;
  readonly starts?: readonly Partial<LiveStart>[];
  readonly texts?: Readonly<Record<string, string>>;
}

const start = (more: Partial<LiveStart>): LiveStart => ({
  ...{ program: null, folder: null, topLayer: 'unknown', module: null },
  ...more,
});

/** The refusal of a medium, or its file trees. */
function verdict({ paths, others, starts = [], texts = {} }: Layout): string {
  const found: OtherSystem[] = Object.entries(others).map(([path, content]) => ({ path, content }));
  try {
    const { views } = recogniseMedium({
      paths: [...paths, ...Object.keys(others), ...Object.keys(texts)],
      readText: (path) => texts[path] ?? '',
      starts: starts.map(start),
      others: found,
    });
    return views.map(({ layers }) => layers.join(' < ')).join(', ');
  } catch (error) {
    return `${(error as { code: string }).code}: ${(error as Error).message}`;
  }
}

const live = 'live/filesystem.squashfs';
const ext = 'an ext4 file system';
const dracut = (folder: string, name: string) => ({ program: 'live-boot' as const, folder, topLayer: { name } });
const media: Readonly<Record<string, readonly [Layout, RegExp]>> = {
  'ext4 alone': [
    { paths: ['pool/main/x.deb', 'live/initrd.gz'], others: { 'live/filesystem.ext4': ext } },
    /no layers .* but an ext4 file system \(\/live\/filesystem\.ext4\); layers can be changed that are SquashFS/,
  ],
  'EROFS in the place of SquashFS': [
    { paths: [], others: { [live]: 'an EROFS file system' } },
    /but an EROFS file system \(\/live\/filesystem\.squashfs\); layers can be changed/,
  ],
  'a folder that menus name': [
    { paths: [], others: { 'own/x.erofs': 'an EROFS file system' }, starts: [{ program: 'casper', folder: 'own' }] },
    /but an EROFS file system \(\/own\/x\.erofs\); layers can be changed/,
  ],
  'a plain folder of casper': [
    { paths: [], others: { 'casper/filesystem.dir': 'a folder' } },
    /but a folder \(\/casper\/filesystem\.dir\); layers can/,
  ],
  'EROFS of Fedora': [
    {
      paths: [],
      others: { 'LiveOS/squashfs.img': 'an EROFS file system' },
      starts: [dracut('LiveOS', 'squashfs.img')],
    },
    /but an EROFS file system \(\/LiveOS\/squashfs\.img\); it is started by dracut, as media of Fedora's family/,
  ],
  'a system of another family': [
    { paths: ['pool/x.deb'], others: { 'antiX/linuxfs': 'a SquashFS' } },
    /but a SquashFS \(\/antiX\/linuxfs\), which neither casper nor live-boot opens/,
  ],
  'ext4 over the layers of live-boot': [
    { paths: [live], others: { 'live/z.ext4': ext } },
    /live-boot lays an ext4 file system \(\/live\/z\.ext4\) over its layers; layers can/,
  ],
  'ext4 in a list of modules': [
    {
      paths: [live],
      others: { 'live/z.ext4': ext },
      texts: { 'live/filesystem.module': 'filesystem.squashfs z.ext4' },
    },
    /\/live\/filesystem\.module names an ext4 file system/,
  ],
  'a plain folder over the layers of casper': [
    { paths: ['casper/filesystem.squashfs'], others: { 'casper/z.dir': 'a folder' } },
    /casper lays a folder \(\/casper\/z\.dir\) over its layers/,
  ],
  'EROFS as one of the layers': [
    { paths: ['casper/a.squashfs'], others: { 'casper/a.b.squashfs': 'an EROFS file system' } },
    /one of its layers is an EROFS file system \(\/casper\/a\.b\.squashfs\)/,
  ],
  'a menu that starts ext4 beside layers': [
    {
      paths: ['casper/a.squashfs'],
      others: { 'casper/a.b.ext4': ext },
      starts: [{ topLayer: { name: 'a.b.ext4' } }],
    },
    /its boot menus start an ext4 file system \(\/casper\/a\.b\.ext4\)/,
  ],
  'a menu that starts ext4 elsewhere': [
    {
      paths: [live],
      others: { 'LiveOS/rootfs.img': ext },
      starts: [{ program: 'live-boot' }, dracut('LiveOS', 'rootfs.img')],
    },
    /its boot menus start an ext4 file system \(\/LiveOS\/rootfs\.img\)/,
  ],
};

for (const [what, [layout, expected]] of Object.entries(media)) {
  test(`refused with what was found, and what is supported: ${what}`, () => {
    const refusal = verdict(layout);
    assert.match(refusal, /^image\.unsupported: the medium cannot be changed: /);
    assert.match(refusal, expected);
  });
}

test('other file systems that no start of the medium opens do not matter', () => {
  const lists = { 'live/filesystem.module': 'filesystem.squashfs\n' };
  assert.is(verdict({ paths: [live], others: { 'live/z.ext4': ext }, texts: lists }), live);
  // casper knows no such suffix, and follows the names where they make a chain.
  const chain = 'casper/a.squashfs, casper/a.squashfs < casper/a.b.squashfs';
  const paths = ['casper/a.squashfs', 'casper/a.b.squashfs'];
  assert.is(
    verdict({ paths, others: { 'casper/z.ext4': ext, 'casper/z.dir': 'a folder' } }),
    chain.split(', ').reverse().join(', '),
  );
  assert.is(verdict({ paths: [live], others: { 'LiveOS/rootfs.img': ext, 'boot/rescue.img': ext } }), live);
  assert.is(
    verdict({ paths: ['casper/filesystem.squashfs'], others: { 'casper/z.ext4': ext } }),
    'casper/filesystem.squashfs',
  );
});

test('dracut opens one layer of a medium as live-build makes it, whatever lies beside', () => {
  const starts = [dracut('live', 'filesystem.squashfs')];
  assert.is(verdict({ paths: [live, 'live/z.squashfs'], others: {}, starts }), live);
  assert.is(
    verdict({ paths: ['live/x/x.squashfs'], others: {}, starts: [dracut('live/x', 'x.squashfs')] }),
    'live/x/x.squashfs',
  );
});

test('the folder counts that all entries of the menus name, and two are refused', () => {
  const paths = [live, 'live/nvidia/filesystem.squashfs', 'casper/filesystem.squashfs'];
  const nvidia = { program: 'live-boot' as const, folder: 'live/nvidia' };
  assert.is(verdict({ paths, others: {}, starts: [nvidia] }), 'live/nvidia/filesystem.squashfs');
  assert.is(verdict({ paths, others: {}, starts: [{ program: 'casper' }] }), 'casper/filesystem.squashfs');
  const both = verdict({ paths, others: {}, starts: [nvidia, { program: 'live-boot' }] });
  assert.match(both, /layers for live-boot \(\/live\/nvidia\) and for live-boot \(\/live\), and nothing says which/);
});

test.run();
