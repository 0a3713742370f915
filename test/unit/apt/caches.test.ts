import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type AptCaches, indexFolder, openAptCaches } from '#lib/apt/caches.ts';
import type { PpaSource } from '#lib/apt/launchpad.ts';

interface Folders {
  cacheDirectory: string;
  workDirectory: string;
  directory: string;
}
const test = suite<Folders>('apt caches');

test.before.each(async (folders) => {
  folders.directory = await mkdtemp(join(tmpdir(), 'apt-caches-'));
  folders.cacheDirectory = join(folders.directory, 'cache');
  folders.workDirectory = join(folders.directory, 'work');
  await mkdir(folders.workDirectory);
});
test.after.each(({ directory }) => rm(directory, { recursive: true, force: true }));

const baseImage = (digit: string) => digit.repeat(64);
const open = (folders: Folders, image = baseImage('a'), cacheBytes = 1_000_000) =>
  openAptCaches({
    ...folders,
    cacheBytes,
    baseImageSha256: image,
    signal: new AbortController().signal,
  });
const listsOf = (caches: AptCaches) => caches.binds.find(({ target }) => target === '/var/lib/apt/lists')?.source ?? '';
const names = async (caches: AptCaches) => (await readdir(listsOf(caches))).filter((name) => name !== 'partial').sort();

const ppa: PpaSource = {
  ppa: { owner: 'o+x', name: 'tools' },
  url: 'https://ppa.example.com/o+x/tools/ubuntu',
  key: { fingerprint: '', armored: '', binary: new Uint8Array(), weakness: null },
};

test('lists that a build publishes are there for the next build of the same base image, times included', async (folders) => {
  {
    await using caches = await open(folders);
    const file = join(listsOf(caches), 'archive.example.com_ubuntu_dists_noble_InRelease');
    await writeFile(file, 'text');
    await utimes(file, 1_700_000_000, 1_700_000_000);
    await caches.publish([]);
  }
  await using same = await open(folders);
  const file = join(listsOf(same), 'archive.example.com_ubuntu_dists_noble_InRelease');
  assert.is(await readFile(file, 'utf8'), 'text');
  assert.is((await stat(file)).mtimeMs, 1_700_000_000_000);
  await using other = await open(folders, baseImage('b'));
  assert.equal(await names(other), []);
});

test('lists of the build’s PPAs are never published', async (folders) => {
  await using caches = await open(folders);
  for (const name of [
    'ppa.example.com_o+x_tools_ubuntu_dists_noble_InRelease',
    'ppa.example.com_o%2bx_tools_ubuntu_dists_noble_main_binary-amd64_Packages',
    'ppa.example.com_o+x_tools2_ubuntu_dists_noble_InRelease',
  ]) {
    await writeFile(join(listsOf(caches), name), name);
  }
  await caches.publish([ppa]);
  await using next = await open(folders);
  assert.equal(await names(next), ['ppa.example.com_o+x_tools2_ubuntu_dists_noble_InRelease']);
});

test('links, folders and odd names that the image put among the lists are neither followed nor taken', async (folders) => {
  await using caches = await open(folders);
  const lists = listsOf(caches);
  await symlink('/etc/passwd', join(lists, 'evil_InRelease'));
  await mkdir(join(lists, 'evil_Packages'));
  await writeFile(join(lists, 'lock'), '');
  await writeFile(join(lists, '.hidden_Release'), '');
  await writeFile(join(lists, 'good_InRelease'), '');
  await caches.publish([]);
  await using next = await open(folders);
  assert.equal(await names(next), ['good_InRelease']);
});

test('a published list that is gone from the sources is gone from the cache', async (folders) => {
  {
    await using caches = await open(folders);
    await writeFile(join(listsOf(caches), 'old_InRelease'), '');
    await caches.publish([]);
  }
  {
    await using caches = await open(folders);
    await rm(join(listsOf(caches), 'old_InRelease'));
    await writeFile(join(listsOf(caches), 'new_InRelease'), '');
    await caches.publish([]);
  }
  await using caches = await open(folders);
  assert.equal(await names(caches), ['new_InRelease']);
});

test('over the size limit, the base image used least recently is forgotten first', async (folders) => {
  for (const [digit, time] of [
    ['a', 1_000],
    ['b', 2_000],
  ] as const) {
    await using caches = await open(folders, baseImage(digit), 1_000);
    await writeFile(join(listsOf(caches), 'x_Packages'), 'x'.repeat(400));
    await caches.publish([]);
    await utimes(join(folders.cacheDirectory, 'apt-lists', baseImage(digit)), time, time);
  }
  {
    await using used = await open(folders, baseImage('a'), 1_000);
    assert.equal(await names(used), ['x_Packages']);
  }
  await using caches = await open(folders, baseImage('c'), 1_000);
  await writeFile(join(listsOf(caches), 'x_Packages'), 'x'.repeat(400));
  await caches.publish([]);
  const left = (await readdir(join(folders.cacheDirectory, 'apt-lists'))).filter((name) => name !== 'lock');
  assert.equal(left.sort(), [baseImage('a'), baseImage('c')]);
});

test('lists larger than the whole cache are not published', async (folders) => {
  {
    await using caches = await open(folders, baseImage('a'), 100);
    await writeFile(join(listsOf(caches), 'x_Packages'), 'x'.repeat(400));
    await caches.publish([]);
  }
  await using next = await open(folders);
  assert.equal(await names(next), []);
});

test('builds that publish and open at once see whole sets only', async (folders) => {
  const build = async (index: number) => {
    await using caches = await open(folders);
    const found = await names(caches);
    if (found.length > 0) {
      const texts = await Promise.all(found.map((name) => readFile(join(listsOf(caches), name), 'utf8')));
      assert.is(new Set(texts).size, 1, 'lists of different builds are mixed');
      assert.is(found.length, 3);
    }
    for (const name of ['a', 'b', 'c'])
      await writeFile(join(listsOf(caches), `${name}_InRelease`), 'x'.repeat(index + 1));
    await caches.publish([]);
  };
  await Promise.all(Array.from({ length: 8 }, (_, index) => build(index)));
  assert.equal((await readdir(join(folders.cacheDirectory, 'apt-lists'))).sort(), [baseImage('a'), 'lock']);
});

const indexOf = (caches: AptCaches) =>
  join(caches.binds.find(({ target }) => target === '/var/cache/apt')?.source ?? '', indexFolder);

/** Leaves an index as scripts/update.sh does. */
async function writeIndex(folder: string, text: string): Promise<void> {
  for (const name of ['pkgcache.bin', 'srcpkgcache.bin', 'releases'])
    await writeFile(join(folder, name), `${name} ${text}`);
}

test('an index is kept for builds with the same base image, PPAs and apt, and for no others', async (folders) => {
  const other = { ...ppa, url: 'https://ppa.example.com/o+x/others/ubuntu' };
  for (const [apt, file] of [
    ['inside', 'pkgcache.bin'],
    ['outside', 'srcpkgcache.bin'],
  ] as const) {
    {
      await using caches = await open(folders);
      assert.equal(await readdir(await caches.takeIndex(apt, [ppa, other])), []);
      await writeIndex(indexOf(caches), apt);
      await caches.publish([ppa, other]);
    }
    await using next = await open(folders);
    const folder = await next.takeIndex(apt, [other, ppa]);
    assert.equal((await readdir(folder)).sort(), ['releases', file].sort());
    assert.is(await readFile(join(folder, file), 'utf8'), `${file} ${apt}`);
    assert.not.ok(
      next.binds.some(({ source }) => folder.startsWith(source)),
      'no image can reach it',
    );
    for (const [image, sources] of [
      ['a', [ppa]],
      ['a', []],
      ['b', [ppa, other]],
    ] as const) {
      await using another = await open(folders, baseImage(image));
      assert.equal(await readdir(await another.takeIndex(apt, sources)), [], `${image} ${sources.length}`);
    }
  }
});

test('an index is kept only where an update has made it, and nothing that the image has put in its place', async (folders) => {
  const strange = join(folders.directory, 'strange');
  await mkdir(strange);
  await writeIndex(strange, 'of another');
  for (const [title, act, kept] of [
    ['no releases', (folder: string) => rm(join(folder, 'releases')), []],
    [
      'a link to a folder',
      (folder: string) => rm(folder, { recursive: true }).then(() => symlink(strange, folder)),
      [],
    ],
    ['no folder', (folder: string) => rm(folder, { recursive: true }).then(() => writeFile(folder, '')), []],
    [
      'a link to a file',
      async (folder: string) => {
        await rm(join(folder, 'pkgcache.bin'));
        await symlink(join(strange, 'pkgcache.bin'), join(folder, 'pkgcache.bin'));
      },
      ['releases'],
    ],
    ['too large', (folder: string) => writeFile(join(folder, 'pkgcache.bin'), Buffer.alloc(1_000_001)), []],
  ] as const) {
    const image = createHash('sha256').update(title).digest('hex');
    {
      await using caches = await open(folders, image);
      await caches.takeIndex('inside', []);
      await writeIndex(indexOf(caches), 'own');
      await act(indexOf(caches));
      await caches.publish([]);
    }
    await using next = await open(folders, image);
    assert.equal(await readdir(await next.takeIndex('inside', [])), [...kept], title);
  }
});

test('disposing leaves nothing in the work folder, and apt’s user can enter the lists', async (folders) => {
  {
    await using caches = await open(folders);
    assert.is((await stat(listsOf(caches))).mode & 0o777, 0o755);
    await chmod(listsOf(caches), 0o755);
  }
  assert.equal(await readdir(folders.workDirectory), []);
});

test.run();
