import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makePlain, plainMaker } from '#lib/apt/outside/plain-archive.ts';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { temporaryFolder } from '../image/temporary.ts';
import { testWith } from '../with-programs.ts';

/** Packages whose compression is taken away: the files in them stay the same. */

const { unprivilegedIds } = loadConfig({}).tools;
const { signal } = new AbortController();
const plain = async (path: string, maximumBytes = 2 ** 30, leastBytes = 100) =>
  await makePlain(path, { leastBytes, maximumBytes, unprivilegedIds, signal });

/** A package in a folder of its own, compressed so by dpkg-deb. */
async function openPackage(compression: string, contentBytes = 300_001) {
  const folder = await temporaryFolder();
  await mkdir(folder.file('tree/DEBIAN'), { recursive: true });
  await writeFile(
    folder.file('tree/DEBIAN/control'),
    'Package: p\nVersion: 1:1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: p\n',
  );
  await writeFile(folder.file('tree/big'), 'x'.repeat(contentBytes));
  await writeFile(folder.file('tree/ü'), 'odd');
  const path = folder.file('p_1%3a1_all.deb');
  await exec('dpkg-deb', ['--root-owner-group', compression, '--build', folder.file('tree'), path]);
  return { path, folder, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

const contentOf = async (path: string) =>
  (
    await exec('sh', [
      '-c',
      'dpkg-deb --fsys-tarfile "$1" | sha256sum; dpkg-deb --ctrl-tarfile "$1" | sha256sum',
      'sh',
      path,
    ])
  ).stdout;

for (const [compression, name] of [
  ['-Zxz', 'data.tar.xz'],
  ['-Zgzip', 'data.tar.gz'],
  ['-Zzstd', 'data.tar.zst'],
  ['-Znone', 'data.tar'],
] as const) {
  testWith(
    'dpkg-deb',
    'ar',
    'xz',
  )(`a package with ${name} has the same files without it`, async () => {
    await using made = await openPackage(compression);
    const before = await contentOf(made.path);
    const bytes = await plain(made.path);
    assert.is((bytes ?? 0) > 300_000, compression !== '-Znone', 'the bytes of its content');
    assert.is(await contentOf(made.path), before);
    const members = (await exec('ar', ['t', made.path])).stdout.trim().split('\n');
    assert.equal([members.length, members.at(-1)], [3, 'data.tar']);
    assert.equal((await readdir(made.folder.path)).sort(), ['p_1%3a1_all.deb', 'tree'], 'something is left');
  });
}

testWith('dpkg-deb', 'xz')('a package that is damaged, cut, too large, too small or none stays as it is', async () => {
  await using made = await openPackage('-Zxz');
  const good = await readFile(made.path);
  const staysAs = async (bytes: Buffer, isBegun = false, maximumBytes?: number, leastBytes?: number) => {
    await writeFile(made.path, bytes);
    assert.is(await plain(made.path, maximumBytes, leastBytes), isBegun ? null : 0);
    assert.ok((await readFile(made.path)).equals(bytes));
    assert.equal((await readdir(made.folder.path)).sort(), ['p_1%3a1_all.deb', 'tree']);
  };
  await staysAs(good, true, 100_000);
  await staysAs(good, false, 100);
  await staysAs(good, false, 2 ** 30, good.length);
  await staysAs(good.subarray(0, -40));
  await staysAs(Buffer.concat([good.subarray(0, -200), Buffer.alloc(200)]), true);
  await staysAs(Buffer.concat([good, Buffer.from('more')]));
  await staysAs(Buffer.from('noise'));
  await staysAs(Buffer.alloc(0));
  const odd = Buffer.from(good);
  odd.write('x', odd.indexOf('data.tar.xz') + 48);
  await staysAs(odd);
});

testWith('dpkg-deb', 'xz')(
  'packages that do not fit into the room are not begun, but for one of which the lists say too little',
  async () => {
    const change = plainMaker({ leastBytes: 100, roomBytes: 700_000, unprivilegedIds, signal });
    const changes = async (contentBytes: number, installedBytes: number | null) => {
      await using made = await openPackage('-Zxz', contentBytes);
      const before = await readFile(made.path);
      const isChanged = await change(made.path, installedBytes);
      assert.is((await readFile(made.path)).equals(before), !isChanged);
      return isChanged;
    };
    assert.ok(await changes(300_001, 301_000));
    assert.not.ok(await changes(500_000, 501_000), 'it would not fit');
    assert.ok(await changes(200_000, null), 'a smaller one does');
    assert.not.ok(await changes(500_000, null), 'begun in vain');
    assert.not.ok(await changes(10_000, 11_000), 'none is begun any more');
  },
);

test.run();
