import { mkdir, rm, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { assertSame, type Files, spec } from '../squashfs/files.ts';
import { makeSquashfs, openFile, readFiles } from '../squashfs/make.ts';
import { viewOf } from '../squashfs/overlay.ts';
import { randomFiles } from '../squashfs/random-files.ts';
import { readTar, thinFile } from '../squashfs/read-tar.ts';
import { noise, world } from '../squashfs/world.ts';
import { writeTar } from '../squashfs/write-tar.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** Thinned archives with layers that squashfs-tools has made. */

for (const compressor of ['gzip', 'xz']) {
  test(`${compressor}: all that GNU tar packs of an unpacked layer is known from the layer`, async () => {
    await using folder = await temporaryFolder();
    const files = world();
    // An opaque directory would stay with all its content, and ext4 has less room for attributes.
    for (const path of ['usr', 'usr/attributes', 'usr/attributes2']) {
      files.set(path, { ...(files.get(path) ?? spec('file')), attributes: { 'user.a': noise(path, 500) } });
    }
    await makeSquashfs(folder.file('layer'), files, '-comp', compressor);
    await exec('unsquashfs', ['-d', folder.file('tree'), '-no-progress', '-quiet', folder.file('layer')]);
    const xattrs = ['--xattrs', '--xattrs-include=*', '--format=pax', '--sort=name', '--numeric-owner'];
    await exec('tar', [
      '--create',
      '--file',
      folder.file('archive'),
      ...xattrs,
      '--directory',
      folder.file('tree'),
      '.',
    ]);
    await using layer = await openFile(folder.file('layer'));
    const thinned = await thinFile(folder.file('archive'), [layer.squashfs], folder.file('result'));
    assert.equal([...(await readTar(folder.file('result'))).keys()], []);
    assert.is(thinned.entries, files.size + 1);
  });
}

/** All that layers show, with a change of it: as an upper directory into which everything was copied first. */
function copied(shown: Files, change: Files): Files {
  const all = new Map([...shown, ...change]);
  const isReachable = (path: string) =>
    path.split('/').every((_, index, parts) => {
      const parent = parts.slice(0, index).join('/');
      return parent === '' || all.get(parent)?.type === 'directory';
    });
  return new Map([...all].filter(([path]) => isReachable(path)));
}

/** Times, marks of overlayfs and the names that files share do not count. */
function plain(files: Files): Files {
  return new Map([...files].map(([path, { inode: _, ...file }]) => [path, { ...file, modifiedSeconds: 0 }] as const));
}

test('whatever a change is, its thinned archive shows the same over the same layers', async () => {
  await using folder = await temporaryFolder();
  let dropped = 0;
  await fc.assert(
    fc.asyncProperty(randomFiles, randomFiles, randomFiles, async (below, upper, random) => {
      await rm(folder.file('run'), { recursive: true, force: true });
      await mkdir(folder.file('run'));
      const path = (name: string) => `${folder.file('run')}/${name}`;
      const change = copied(viewOf(below, upper), random);
      await makeSquashfs(path('below'), below, '-b', '4096');
      await makeSquashfs(path('upper'), upper, '-b', '4096');
      await writeFile(path('archive'), writeTar(change));
      await using one = await openFile(path('below'));
      await using other = await openFile(path('upper'));
      const thinned = await thinFile(path('archive'), [one.squashfs, other.squashfs], path('result'));
      dropped += thinned.entries - thinned.kept;
      await exec('sh', ['-c', 'mksquashfs - "$1" -tar -quiet -no-progress < "$0"', path('result'), path('delta')]);
      await using delta = await openFile(path('delta'));
      const expected = plain(viewOf(below, upper, change));
      assertSame(plain(viewOf(below, upper, await readFiles(delta.squashfs))), expected);
    }),
    { numRuns: 40 },
  );
  assert.ok(dropped > 40, `${dropped} entries were dropped`);
});

test.run();
