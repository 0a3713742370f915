import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type NewKernels, writeNewKernels } from '#lib/kinds/cd/new-kernel.ts';
import { checkBootedKernels } from '#lib/kinds/cd/verify-kernels.ts';
import { type FileSpec, spec } from '../squashfs/files.ts';
import { limits, makeSquashfs, openFile } from '../squashfs/make.ts';
import { cpioFiles } from '../unit/boot/cpio-archive.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { writeMedium } from '../unit/iso9660/plain-medium.ts';

/** Kernels of media with several layers, and of others than Debian's. Kernels and initial ramdisks are small stand-ins. */

/** A kernel for x86; a signed one has a table of certificates. */
function kernel(version: string, isSigned = false): Buffer {
  const bytes = Buffer.alloc(20_000, version);
  bytes.write('MZ', 0, 'latin1');
  bytes.writeUInt32LE(0x40, 0x3c);
  bytes.write('PE\0\0', 0x40, 'latin1');
  bytes.writeUInt16LE(0x20b, 0x58);
  bytes.writeUInt32LE(6, 0x58 + 108);
  bytes.writeUInt32LE(isSigned ? 1000 : 0, 0x58 + 144);
  bytes.writeUInt32LE(isSigned ? 1000 : 0, 0x58 + 148);
  bytes.write('HdrS', 0x202, 'latin1');
  bytes.writeUInt16LE(0x3000, 0x20e);
  bytes.write(`${version} (builder@example.org)\0`, 0x3200, 'latin1');
  return bytes;
}

const standard = 'minimal.standard.live.squashfs';

/** casper's, as Ubuntu's media have it. */
function initrd(version: string, id: string, more: Readonly<Record<string, string>> = {}): Buffer {
  return gzipSync(
    cpioFiles({
      'scripts/casper': '#!/bin/sh\n',
      'conf/uuid.conf': `${id}\n`,
      'conf/conf.d/default-boot-to-casper.conf': 'if [ -z "$BOOT" ]; then\n    export BOOT=casper\nfi\n',
      'conf/conf.d/default-layer.conf': `LAYERFS_PATH=${standard}\n`,
      [`usr/lib/modules/${version}/kernel/fs/overlayfs/overlay.ko`]: 'x',
      [`usr/lib/modules/${version}/kernel/fs/squashfs/squashfs.ko`]: 'x',
      ...more,
    }),
  );
}

type Contents = Readonly<Record<string, Buffer | string>>;
const link = (target: string) => `-> ${target}`;

/** A layer with these files; `-> target` is a symbolic link. */
function layer(contents: Contents): ReadonlyMap<string, FileSpec> {
  const files = new Map<string, FileSpec>([['boot', spec('directory')]]);
  for (const [path, content] of Object.entries(contents)) {
    const target = typeof content === 'string' && content.startsWith('-> ') ? content.slice(3) : null;
    files.set(path, target === null ? spec('file', { content: Buffer.from(content) }) : spec('symlink', { target }));
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
      files.set(path.slice(0, at), spec('directory'));
    }
  }
  return files;
}

/** The layers of a live system, the lowest first. */
interface System {
  readonly topLayer?: string;
  readonly before: readonly Contents[];
  readonly after: readonly Contents[];
}

interface Change {
  readonly medium: Contents;
  readonly systems: readonly System[];
}

interface Outcome extends Pick<NewKernels, 'warnings' | 'lines' | 'booted'> {
  /** New contents on the medium. */
  readonly files: ReadonlyMap<string, Buffer>;
}

/** Changes a medium; the new one is checked as a finished one is. */
async function change({ medium, systems }: Change): Promise<Outcome> {
  await using folder = await temporaryFolder();
  await using stack = new AsyncDisposableStack();
  const openAll = async (name: string, layers: readonly Contents[]) => {
    const opened = [];
    for (const [index, contents] of layers.entries()) {
      const path = folder.file(`${name}-${index}`);
      await makeSquashfs(path, layer(contents), '-b', '4096');
      opened.push(stack.use(await openFile(path)).squashfs);
    }
    return opened;
  };
  const mediumPath = folder.file('medium');
  const directory = folder.file('work');
  await mkdir(directory);
  const files = await writeMedium(mediumPath, medium);
  const opened = [];
  for (const [index, { topLayer = standard, before, after }] of systems.entries()) {
    const old = await openAll(`before-${index}`, before);
    opened.push({ topLayer, before: old, after: await openAll(`after-${index}`, after) });
  }
  const made = await writeNewKernels({ mediumPath, files, systems: opened, directory, limits });
  // Nothing that was given up takes room.
  assert.is((await readdir(directory)).length, made.files.size);
  const contents = new Map<string, Buffer>();
  for (const [path, file] of made.files) contents.set(path, await readFile(file));
  const newPath = folder.file('new');
  const newFiles = await writeMedium(newPath, { ...medium, ...Object.fromEntries(contents) });
  await using handle = await open(newPath, 'r');
  await checkBootedKernels(handle, newFiles, made.booted, { ...limits, workDirectory: directory });
  return { ...made, files: contents };
}

const entry = (name: string, start = '') =>
  `menuentry x {\n linux /casper/${start}vmlinuz${name} ---\n initrd /casper/${start}initrd\n}\n`;
const [v1, v2, hwe] = ['6.8.0-31-generic', '6.8.0-60-generic', '6.11.0-17-generic'] as const;
const medium = {
  'boot/grub/grub.cfg': entry(''),
  'casper/vmlinuz': kernel(v1),
  'casper/initrd': initrd(v1, 'one'),
  '.disk/casper-uuid-generic': 'one\n',
};
const lists = (version: string) => ({
  [`lib/modules/${version}/modules.dep`]: 'kernel/fs/overlayfs/overlay.ko:\nkernel/fs/squashfs/squashfs.ko:\n',
  [`lib/modules/${version}/modules.builtin`]: '',
});
const base = { 'etc/os-release': 'x', ...lists(v1) };
const live = { [`boot/vmlinuz-${v1}`]: kernel(v1), [`boot/initrd.img-${v1}`]: initrd(v1, 'one') };
const upgrade = (id = 'two', more = {}) => ({
  ...live,
  ...lists(v2),
  [`boot/vmlinuz-${v2}`]: kernel(v2),
  [`boot/initrd.img-${v2}`]: initrd(v2, id, more),
  'boot/vmlinuz': link(`vmlinuz-${v2}`),
});

test('the kernel that the uppermost layer shows is taken, with the id of its initial ramdisk', async () => {
  // The change made another initial ramdisk in the layer below, which knows nothing of the live system.
  const below = { ...base, [`boot/vmlinuz-${v2}`]: kernel(v2), [`boot/initrd.img-${v2}`]: 'not this one' };
  const { files, booted, warnings } = await change({
    medium,
    systems: [{ before: [base, live], after: [below, upgrade()] }],
  });
  assert.equal(warnings, []);
  assert.equal([...files.keys()].sort(), ['.disk/casper-uuid-generic', 'casper/initrd', 'casper/vmlinuz']);
  assert.ok(files.get('casper/vmlinuz')?.equals(kernel(v2)));
  assert.ok(files.get('casper/initrd')?.equals(initrd(v2, 'two')));
  assert.is(files.get('.disk/casper-uuid-generic')?.toString(), 'two\n');
  assert.equal(booted, [{ version: v2, kernels: ['casper/vmlinuz'], initrds: ['casper/initrd'] }]);
});

test('a change without kernels alters nothing, whatever the medium boots', async () => {
  const other = { ...medium, 'casper/vmlinuz': kernel(hwe) };
  const { files, warnings } = await change({
    ...{ medium: other, systems: [{ before: [base, live], after: [{ ...base, new: 'x'.repeat(10_000) }, live] }] },
  });
  assert.equal([files.size, warnings], [0, []]);
});

test('an initial ramdisk that is made again for the same kernel replaces the old one', async () => {
  const after = [base, { ...live, [`boot/initrd.img-${v1}`]: initrd(v1, 'two') }];
  const { files } = await change({ medium, systems: [{ before: [base, live], after }] });
  assert.ok(files.get('casper/vmlinuz')?.equals(kernel(v1)));
  assert.is(files.get('.disk/casper-uuid-generic')?.toString(), 'two\n');
});

test('each kernel of a medium with two series is replaced by its own, with its own id', async () => {
  const both = {
    ...medium,
    'boot/grub/grub.cfg': entry('') + entry('', 'hwe-'),
    'casper/hwe-vmlinuz': kernel(hwe),
    'casper/hwe-initrd': initrd(hwe, 'three'),
    '.disk/casper-uuid-hwe': 'three\n',
  };
  const { files, warnings } = await change({
    medium: both,
    systems: [{ before: [base, live], after: [base, upgrade()] }],
  });
  assert.equal(warnings, []);
  assert.equal([...files.keys()].sort(), ['.disk/casper-uuid-generic', 'casper/initrd', 'casper/vmlinuz']);
});

test("a medium with a live system for each series, as Ubuntu's for servers, takes each kernel from its own", async () => {
  const [generic, newer] = ['minimal.server.generic.squashfs', 'minimal.server.generic-hwe.squashfs'] as const;
  const names = (layer: string) => ({ 'conf/conf.d/default-layer.conf': `LAYERFS_PATH=${layer}\n` });
  const hwe2 = '6.11.0-29-generic';
  const kernels = (version: string, id: string, layer: string) => ({
    [`boot/vmlinuz-${version}`]: kernel(version),
    [`boot/initrd.img-${version}`]: initrd(version, id, names(layer)),
  });
  // The usual kernel comes to the layer below both, the other to its own.
  const below = { ...base, [`boot/vmlinuz-${v2}`]: kernel(v2), [`boot/initrd.img-${v2}`]: 'not this one' };
  const { files, warnings } = await change({
    medium: {
      ...medium,
      'boot/grub/grub.cfg': entry('') + entry('', 'hwe-'),
      'casper/initrd': initrd(v1, 'one', names(generic)),
      'casper/hwe-vmlinuz': kernel(hwe),
      'casper/hwe-initrd': initrd(hwe, 'three', names(newer)),
      '.disk/casper-uuid-hwe': 'three\n',
    },
    systems: [
      {
        topLayer: generic,
        before: [base, kernels(v1, 'one', generic)],
        after: [below, { ...kernels(v1, 'one', generic), ...kernels(v2, 'two', generic), ...lists(v2) }],
      },
      {
        topLayer: newer,
        before: [base, kernels(hwe, 'three', newer)],
        after: [below, { ...kernels(hwe, 'three', newer), ...kernels(hwe2, 'four', newer) }],
      },
    ],
  });
  assert.equal(warnings, []);
  const read = (path: string) => files.get(path) ?? Buffer.alloc(0);
  assert.ok(read('casper/vmlinuz').equals(kernel(v2)));
  assert.ok(read('casper/hwe-vmlinuz').equals(kernel(hwe2)));
  assert.equal([`${read('.disk/casper-uuid-generic')}`, `${read('.disk/casper-uuid-hwe')}`], ['two\n', 'four\n']);
});

test('a kernel whose live system has not changed stays, without a word', async () => {
  const both = {
    ...medium,
    'boot/grub/grub.cfg': entry('') + entry('', 'hwe-'),
    'casper/hwe-vmlinuz': kernel(v1),
    'casper/hwe-initrd': initrd(v1, 'three', {
      'conf/conf.d/default-layer.conf': 'LAYERFS_PATH=/cdrom/casper/a.squashfs\n',
    }),
  };
  const { files, warnings } = await change({
    medium: both,
    systems: [{ before: [base, live], after: [base, upgrade()] }],
  });
  assert.equal(warnings, []);
  assert.equal([...files.keys()].sort(), ['.disk/casper-uuid-generic', 'casper/initrd', 'casper/vmlinuz']);
});

test('a kernel that starts two live systems stays with both', async () => {
  const both = {
    ...medium,
    'boot/grub/grub.cfg': `${entry('')}menuentry y {\n linux /casper/vmlinuz\n initrd /casper/other\n}\n`,
    'casper/other': initrd(v1, 'three', { 'conf/conf.d/default-layer.conf': 'LAYERFS_PATH=other.squashfs\n' }),
  };
  const { files, warnings } = await change({
    medium: both,
    systems: [{ before: [base, live], after: [base, upgrade()] }],
  });
  assert.is(files.size, 0);
  assert.match(warnings[0] ?? '', /its initial ramdisks start different live systems$/);
});

test('the uppermost layer that the boot menus say counts, whatever initial ramdisks say', async () => {
  const menu = (...tops: readonly string[]) =>
    tops.map((top) => entry('').replace('---', `layerfs-path=/cdrom/casper/${top} ---`)).join('');
  const topLayer = 'minimal.standard.live.custom.squashfs';
  const changed = async (grub: string) =>
    await change({
      medium: { ...medium, 'boot/grub/grub.cfg': grub },
      systems: [{ topLayer, before: [base, live], after: [base, upgrade()] }],
    });
  const { files, warnings } = await changed(menu(topLayer, topLayer));
  assert.equal(warnings, []);
  assert.ok(files.get('casper/vmlinuz')?.equals(kernel(v2)));
  const mixed = await changed(menu(topLayer, standard));
  assert.is(mixed.files.size, 0);
  assert.match(mixed.warnings[0] ?? '', /its initial ramdisks start different live systems$/);
});

test('a kernel that the medium has twice, for BIOS and for UEFI, is replaced twice', async () => {
  const twice = {
    ...medium,
    'boot/grub/grub.cfg': entry('') + entry('.efi'),
    'casper/vmlinuz.efi': kernel(v1, true),
  };
  const { files, warnings } = await change({
    medium: twice,
    systems: [{ before: [base, live], after: [base, upgrade()] }],
  });
  assert.ok(files.get('casper/vmlinuz.efi')?.equals(kernel(v2)));
  assert.ok(files.get('casper/vmlinuz')?.equals(kernel(v2)));
  assert.equal(warnings, [
    `the medium boots the kernel ${v2}, which has no signature: machines with Secure Boot refuse it`,
  ]);
});

test('a medium that its initial ramdisk does not know by a file gets one', async () => {
  const { '.disk/casper-uuid-generic': _, ...without } = medium;
  const { files } = await change({ medium: without, systems: [{ before: [base, live], after: [base, upgrade()] }] });
  assert.is(files.get(`.disk/casper-uuid-${v2}`)?.toString(), 'two\n');
});

test('a kernel without a version in its file is recognised by the file in the layer', async () => {
  const plain = Buffer.alloc(20_000, 'an image for s390x');
  const { files } = await change({
    medium: { ...medium, 'casper/vmlinuz': plain },
    systems: [
      {
        before: [base, { ...live, [`boot/vmlinuz-${v1}`]: plain }],
        after: [
          base,
          { ...upgrade(), [`boot/vmlinuz-${v1}`]: plain, [`boot/vmlinuz-${v2}`]: Buffer.alloc(20_000, 'newer') },
        ],
      },
    ],
  });
  assert.is(files.get('casper/vmlinuz')?.toString('latin1', 0, 5), 'newer');
});

const faults: Readonly<Record<string, readonly [after: Contents, expected: RegExp]>> = {
  'no initial ramdisk': [{ ...upgrade(), [`boot/initrd.img-${v2}`]: '' }, /of the live system has no initial ramdisk/],
  'an initial ramdisk of an installed system': [
    { ...upgrade(), [`boot/initrd.img-${v2}`]: gzipSync(cpioFiles({ 'scripts/local': 'x' })) },
    /has no casper, which starts the live system/,
  ],
  'a cut initial ramdisk': [
    { ...upgrade(), [`boot/initrd.img-${v2}`]: initrd(v2, 'two').subarray(0, 100) },
    /is not whole: it ends in the middle/,
  ],
  'an initial ramdisk for another kernel': [
    { ...upgrade(), [`boot/initrd.img-${v2}`]: initrd(v1, 'two') },
    /has no modules of that kernel/,
  ],
  'an initial ramdisk with a long id': [upgrade('x'.repeat(5000)), /has an id that is longer than ids are/],
  'an initial ramdisk that takes other layers': [
    upgrade('two', { 'conf/conf.d/default-layer.conf': 'LAYERFS_PATH=minimal.squashfs\n' }),
    /starts with "minimal\.squashfs" instead of "minimal\.standard\.live\.squashfs"/,
  ],
  'an initial ramdisk that takes all layers': [
    upgrade('two', { 'conf/conf.d/default-layer.conf': '' }),
    /starts with all layers instead of "minimal\.standard\.live\.squashfs"/,
  ],
  'an initial ramdisk that starts the live system only where it is asked to': [
    upgrade('', { 'conf/conf.d/default-boot-to-casper.conf': '' }),
    /starts the live system only where the boot menus ask for it, and they do not/,
  ],
  'a kernel that is another': [
    { ...upgrade(), [`boot/vmlinuz-${v2}`]: kernel(hwe) },
    /\/boot\/vmlinuz-6\.8\.0-60-generic is the kernel 6\.11\.0-17-generic/,
  ],
};
for (const [name, [after, expected]] of Object.entries(faults)) {
  test(`${name}: the medium keeps its kernel, and the warning says why`, async () => {
    const { files, booted, warnings } = await change({
      medium,
      systems: [{ before: [base, live], after: [base, after] }],
    });
    assert.equal([[...files], booted], [[], []]);
    assert.is(warnings.length, 1);
    assert.match(warnings[0] ?? '', `the medium goes on booting the kernel that it has, ${v1}: `);
    assert.match(warnings[0] ?? '', expected);
  });
}

test('an initial ramdisk without an id serves a medium whose menus ask for the live system', async () => {
  const asking = { ...medium, 'boot/grub/grub.cfg': entry('').replace('---', 'boot=casper ---') };
  const plain = upgrade('', { 'conf/conf.d/default-boot-to-casper.conf': '' });
  const { files, warnings } = await change({
    medium: asking,
    systems: [{ before: [base, live], after: [base, plain] }],
  });
  assert.equal([[...files.keys()], warnings], [['casper/vmlinuz', 'casper/initrd'], []]);
});

test('an initial ramdisk of dracut that starts live systems takes the place of one, and another does not', async () => {
  const dracut = (version: string, hook = 'usr/bin/dmsquash-live-root') =>
    gzipSync(cpioFiles({ [hook]: 'x', [`usr/lib/modules/${version}/kernel/fs/squashfs/squashfs.ko`]: 'x' }));
  const menu = `menuentry x {
  linux /live/vmlinuz boot=live root=live:CDLABEL=live rd.live.dir=live rd.live.squashimg=filesystem.squashfs
  initrd /live/initrd
}
`;
  const from = { 'boot/grub/grub.cfg': menu, 'live/vmlinuz': kernel(v1), 'live/initrd': dracut(v1) };
  const before = [{ ...base, ...live, [`boot/initrd.img-${v1}`]: dracut(v1) }];
  const after = (initrd: Buffer) => [{ ...base, ...upgrade(), [`boot/initrd.img-${v2}`]: initrd }];
  const system = { topLayer: 'filesystem.squashfs', before };
  const made = await change({ medium: from, systems: [{ ...system, after: after(dracut(v2)) }] });
  assert.equal([[...made.files.keys()], made.warnings], [['live/vmlinuz', 'live/initrd'], []]);
  const kept = await change({ medium: from, systems: [{ ...system, after: after(dracut(v2, 'usr/bin/x')) }] });
  assert.is(kept.files.size, 0);
  assert.match(kept.warnings.join(), /has no dracut-live, which starts the live system/);
});

test('two kernels that both have to stay are both named', async () => {
  const both = {
    ...medium,
    'boot/grub/grub.cfg': entry('') + entry('', 'hwe-'),
    'casper/hwe-vmlinuz': kernel(hwe),
    'casper/hwe-initrd': initrd(hwe, 'three'),
  };
  const hwe2 = '6.11.0-29-generic';
  const after = { ...live, [`boot/vmlinuz-${v2}`]: kernel(v2), [`boot/vmlinuz-${hwe2}`]: kernel(hwe2) };
  const cut = { [`boot/initrd.img-${v2}`]: 'x', [`boot/initrd.img-${hwe2}`]: 'x' };
  const systems = [{ before: [base, live], after: [base, { ...after, ...cut }] }];
  const { files, warnings } = await change({ medium: both, systems });
  assert.equal([files.size, warnings.length], [0, 2]);
});

test('names that are no versions, and more kernels than systems have, are passed over', async () => {
  const strange = {
    'boot/vmlinuz-old': kernel(v2),
    'boot/vmlinuz-6 x': kernel(v2),
    'boot/vmlinuz-6.9.dpkg-new': kernel(v2),
  };
  const many = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`boot/vmlinuz-6.7.${index}-generic`, 'x']));
  const { files, warnings } = await change({
    medium,
    systems: [{ before: [base, live], after: [base, { ...upgrade(), ...strange, ...many }] }],
  });
  assert.ok(files.get('casper/vmlinuz')?.equals(kernel(v2)));
  // The newest 32, of which one is that of the base and one is taken.
  assert.is(warnings.length, 30);
});

test('drivers that only the old initial ramdisk has keep it', async () => {
  const had = { ...medium, 'casper/initrd': initrd(v1, 'one', { [`lib/modules/${v1}/kernel/isofs.ko`]: 'x' }) };
  const known = { [`lib/modules/${v2}/modules.dep`]: 'kernel/fs/isofs/isofs.ko:\nkernel/drivers/ahci.ko:\n' };
  const after = [base, { ...upgrade(), ...known }];
  const { files, warnings } = await change({ medium: had, systems: [{ before: [base, live], after }] });
  assert.is(files.size, 0);
  assert.match(warnings[0] ?? '', /lacks drivers that the one on the medium has: isofs$/);
});

test('a kernel that the packages have removed, and one that no menu starts, are warned of', async () => {
  const removed = await change({ medium, systems: [{ before: [base, live], after: [base, {}] }] });
  assert.equal(removed.warnings, [
    `the medium boots the kernel ${v1}, which the packages have removed from its live system`,
  ]);
  const { warnings, files } = await change({
    ...{ medium: { ...medium, 'boot/grub/grub.cfg': 'menuentry x {\n linux /casper/vmlinuz\n}\n' } },
    ...{ systems: [{ before: [base, live], after: [base, upgrade()] }] },
  });
  assert.is(files.size, 0);
  assert.match(warnings[0] ?? '', /is none that the medium boots: its boot menus start no kernel of a live system/);
});

test('a new medium whose kernel does not fit its initial ramdisk is not let through', async () => {
  await using folder = await temporaryFolder();
  const booted = [{ version: v2, kernels: ['casper/vmlinuz'], initrds: ['casper/initrd'] }];
  const right = { 'casper/vmlinuz': kernel(v2), 'casper/initrd': initrd(v2, 'two'), '.disk/casper-uuid-x': 'two' };
  const check = async (contents: Contents) => {
    const files = await writeMedium(folder.file('medium'), contents);
    await using handle = await open(folder.file('medium'), 'r');
    await checkBootedKernels(handle, files, booted, { ...limits, workDirectory: folder.path });
  };
  await check(right);
  for (const wrong of [
    { 'casper/vmlinuz': kernel(v1) },
    { 'casper/initrd': initrd(v1, 'two') },
    { 'casper/initrd': 'x' },
    { '.disk/casper-uuid-x': 'one' },
  ]) {
    const error = await check({ ...right, ...wrong }).then(
      () => null,
      (reason: Error) => reason,
    );
    assert.match(error?.message ?? '', /^\/casper\/(vmlinuz|initrd) of the new medium cannot start its kernel/);
  }
});

test.run();
