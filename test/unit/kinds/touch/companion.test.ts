import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FetchedFile } from '#lib/fetch/base-images.ts';
import { describeRoot, parseDescribedVersion, poolWord } from '#lib/kinds/touch/companion.ts';

/** Names and descriptions as the pool of a system-image server has them. */

const hash = '3f'.repeat(32);
const named = (fileName: string) => poolWord({ fileName } as FetchedFile);

test('the name of the base gives its first word, where it is one of a pool', () => {
  assert.is(named(`ubuntu-${hash}.tar.xz`), 'ubuntu');
  assert.is(named(`ubports-${hash}.tar.xz`), 'ubports');
  for (const other of ['', 'rootfs.tar.xz', `Ubuntu-${hash}.tar.xz`, `../x-${hash}.tar.xz`, `x-${hash}.tar.gz`]) {
    assert.is(named(other), 'ubuntu', other);
  }
});

test('a description has the members and the form that the server writes', () => {
  assert.is(
    describeRoot({ word: 'ubuntu', sha256: hash, version: '20140417-e7233533', series: 'trusty' }),
    `{
    "generator": "imagebuilder",
    "rootfs_checksum": "${hash}",
    "rootfs_path": "ubuntu-${hash}.tar.xz",
    "series": "trusty",
    "version": "20140417-e7233533",
    "version_detail": "ubuntu=20140417-e7233533"
}
`,
  );
});

test('the version of the base is taken where it can stand in an index', () => {
  assert.is(parseDescribedVersion('{"generator": "http", "version": "24.04-2.x~42"}'), '24.04-2.x~42');
  for (const text of ['', '[]', '{}', '{"version": 3}', '{"version": "a,b=c"}', `{"version": "${'1'.repeat(65)}"}`]) {
    assert.is(parseDescribedVersion(text), null, text);
  }
});

test.run();
