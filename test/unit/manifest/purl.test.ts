import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstalledPackage } from '#lib/apt/packages.ts';
import { debianPurl } from '#lib/manifest/purl.ts';
import { holds } from '../holds.ts';

const noble = { distribution: 'ubuntu', release: '24.04' };
const entry = (name: string, version: string, source?: { name: string; version: string }): InstalledPackage => ({
  ...{ name, version, architecture: 'amd64', state: 'installed' },
  ...(source === undefined ? {} : { source }),
});

test('a package URL has name, version, architecture and distribution', () => {
  assert.is(
    debianPurl(entry('curl', '7.50.3-1'), noble),
    'pkg:deb/ubuntu/curl@7.50.3-1?arch=amd64&distro=ubuntu-24.04',
  );
});

test('plus signs are encoded; the colon of an epoch and tildes are not', () => {
  assert.is(
    debianPurl(entry('libstdc++6', '1:14.2.0-4ubuntu2~24.04+esm1'), noble),
    'pkg:deb/ubuntu/libstdc%2B%2B6@1:14.2.0-4ubuntu2~24.04%2Besm1?arch=amd64&distro=ubuntu-24.04',
  );
});

test('a source package of another name or version is the upstream', () => {
  const suffix = (source: { name: string; version: string }) =>
    debianPurl(entry('libssl3', '3.0-1', source), noble)
      .split('&')
      .slice(2)
      .join('&');
  assert.is(suffix({ name: 'libssl3', version: '3.0-1' }), '');
  assert.is(suffix({ name: 'openssl', version: '3.0-1' }), 'upstream=openssl');
  assert.is(suffix({ name: 'gcc-14', version: '1:14+2' }), 'upstream=gcc-14%401:14%2B2');
});

test('a distribution without releases stands alone', () => {
  const purl = debianPurl(entry('a', '1'), { distribution: 'debian', release: '' });
  assert.is(purl, 'pkg:deb/debian/a@1?arch=amd64&distro=debian');
});

test('every name and version can be read again from its package URL', () => {
  holds(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary', minLength: 1 }), (name, version) => {
      const purl = debianPurl(entry(name, version), noble);
      const [, read] = /^pkg:deb\/ubuntu\/([^?]*)\?/.exec(purl) ?? [];
      assert.match(purl, /^[A-Za-z0-9.\-_~%:/@?=&]*$/);
      assert.equal(
        read?.split('@').map(decodeURIComponent),
        [name, version].map((text) => text.toWellFormed()),
      );
    }),
  );
});

test.run();
