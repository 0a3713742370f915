import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { type IsoInspection, inspectIso } from '#lib/iso9660/inspect.ts';
import { readIsoFile, runOf } from '#lib/iso9660/read-file.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** The inspection of media that other programs have made, against what other programs read there. */

async function inspect(path: string): Promise<IsoInspection> {
  await using handle = await open(path, 'r');
  return await inspectIso(handle, { maximumBytes: 2 ** 40 });
}

const xorriso = (...args: string[]) => exec('xorriso', ['-no_rc', '-report_about', 'WARNING', ...args]);

/** Paths, sizes and places of files with content as xorriso reports them: one line for each section. */
async function reported(path: string): Promise<string[]> {
  const { stdout } = await xorriso('-indev', path, '-find', '/', '-type', 'f', '-exec', 'report_lba', '--');
  return stdout
    .split('\n')
    .flatMap((line) => {
      const match = /^File data lba: +([0-9]+) , +([0-9]+) , +[0-9]+ , +([0-9]+) , '\/(.*)'$/.exec(line);
      return match === null || match[3] === '0'
        ? []
        : [`${match[4]} ${match[1]} ${Number(match[2]) * 2048} ${match[3]}`];
    })
    .sort();
}

/** The same as this project reads them. xorriso does not report the boot catalogue. */
function read({ files, boot }: IsoInspection): string[] {
  return [...files]
    .filter(([, { type, extents }]) => type === 'file' && extents[0]?.offsetBytes !== boot.catalogueOffsetBytes)
    .flatMap(([path, { extents, sizeBytes }]) =>
      extents.map(({ offsetBytes }, index) => `${path} ${index} ${offsetBytes} ${sizeBytes}`),
    )
    .sort();
}

/** Every path that `xorriso -find` names. */
async function found(path: string): Promise<string[]> {
  const { stdout } = await xorriso('-indev', path, '-find', '/');
  return stdout
    .split('\n')
    .flatMap((line) => /^'\/(.+)'$/.exec(line)?.[1] ?? [])
    .sort();
}

const upstream = {
  '/usr/lib/grub-rescue/grub-rescue-cdrom.iso': { platforms: ['bios'], joliet: false },
  '/usr/lib/ipxe/ipxe.iso': { platforms: ['bios', 'uefi'], joliet: true },
};

for (const [path, { platforms, joliet }] of Object.entries(upstream)) {
  test(`${path}, which nobody here has made, is read as xorriso reads it`, async () => {
    const inspection = await inspect(path);
    const { files, trees, boot, names } = inspection;
    assert.is(names, 'rock-ridge');
    assert.is(trees.joliet !== null, joliet);
    assert.equal([...files.keys()].sort(), await found(path));
    assert.equal(read(inspection), await reported(path));
    assert.equal(
      boot.entries.map(({ platform }) => platform),
      platforms,
    );
    assert.is(boot.mbr?.length, 1);
  });
}

/** A folder with names of all sorts, deep ones and a link. */
async function makeContent(folder: string): Promise<string> {
  const content = join(folder, 'content');
  const deep = join(content, ...'abcdefghij');
  await mkdir(deep, { recursive: true });
  await mkdir(join(content, 'casper'));
  await writeFile(join(deep, 'end'), 'deep');
  await writeFile(join(content, 'casper/minimal.standard.live.squashfs'), Buffer.alloc(100_000, 7));
  await writeFile(join(content, 'casper/vmlinuz'), 'kernel');
  await writeFile(join(content, 'empty'), '');
  await writeFile(join(content, `long-${'name-'.repeat(40)}`), 'long');
  await writeFile(join(content, 'Gr\u00f6\u00dfe'), 'unicode');
  for (let index = 0; index < 300; index++) await writeFile(join(content, 'casper', `file-${index}`), String(index));
  await symlink('../casper/vmlinuz', join(content, 'a/link'));
  await symlink('/absolute//target', join(content, 'absolute'));
  return content;
}

const makers: Readonly<Record<string, readonly string[]>> = {
  'xorriso with Rock Ridge and Joliet': ['xorriso', '-as', 'mkisofs', '-r', '-J', '-joliet-long'],
  'xorriso with Rock Ridge alone': ['xorriso', '-as', 'mkisofs', '-r'],
  'genisoimage with Rock Ridge, Joliet and relocated folders': ['genisoimage', '-r', '-J', '-joliet-long'],
  'genisoimage with Rock Ridge alone': ['genisoimage', '-R'],
  'genisoimage with names of ISO 9660:1999': ['genisoimage', '-r', '-iso-level', '4'],
};

for (const [what, [program = '', ...options]] of Object.entries(makers)) {
  test(`a medium by ${what} is read as xorriso reads it`, async () => {
    await using folder = await temporaryFolder();
    const content = await makeContent(folder.path);
    const path = folder.file('medium.iso');
    await exec(program, [...options, '-quiet', '-V', 'A volume', '-o', path, content]);
    const inspection = await inspect(path);
    const { files, trees, names, volumeId } = inspection;
    assert.is(volumeId, 'A volume');
    assert.is(names, 'rock-ridge');
    assert.equal([...files.keys()].sort(), await found(path));
    assert.equal(read(inspection), await reported(path));
    assert.is(files.get('a/link')?.target, '../casper/vmlinuz');
    assert.is(files.get('absolute')?.target, '/absolute//target');
    assert.is(trees.joliet !== null, options.includes('-J'));
    await using handle = await open(path, 'r');
    const end = [...'abcdefghij', 'end'].join('/');
    assert.is(String(await readIsoFile(handle, files, end, 100)), 'deep');
    const layer = 'casper/minimal.standard.live.squashfs';
    assert.is(runOf(files, layer).sizeBytes, 100_000);
    for (const tree of [trees.joliet, trees.enhanced]) {
      if (tree !== null) assert.equal(tree.get(layer)?.extents, files.get(layer)?.extents);
    }
  });
}

test('without Rock Ridge, names are those that Linux shows: of Joliet, or in lower case', async () => {
  await using folder = await temporaryFolder();
  const content = folder.file('content');
  await mkdir(join(content, 'Live'), { recursive: true });
  await writeFile(join(content, 'Live/File System.squashfs'), 'x');
  for (const [options, expected] of [
    [['-J'], ['Live', 'Live/File System.squashfs']],
    [[], ['live', 'live/file_sys.squ']],
  ] as const) {
    const path = folder.file('medium.iso');
    await exec('genisoimage', ['-quiet', ...options, '-o', path, content]);
    assert.equal([...(await inspect(path)).files.keys()].sort(), expected);
  }
});

test.run();
