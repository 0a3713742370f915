import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseListed, parsePackages } from '#lib/apt/packages.ts';
import { texts } from '#lib/apt/script.ts';
import { exec } from '#lib/exec.ts';
import type { ImageContents } from '#lib/manifest/contents.ts';
import { cyclonedx } from '#lib/manifest/cyclonedx.ts';
import { packageManifest } from '#lib/manifest/packages.ts';
import { spdx } from '#lib/manifest/spdx.ts';
import { readCyclonedx } from '../../bills/cyclonedx.ts';
import { readSpdx } from '../../bills/spdx.ts';

/** Bills of materials and the manifest of dpkg databases in odd states, which dpkg itself reads. */

/** The packages of a database that dpkg-query reads, by the script that runs in images. */
async function read(status: string) {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-dpkg-'));
  try {
    for (const folder of ['info', 'updates', 'triggers']) await mkdir(join(directory, folder));
    await writeFile(join(directory, 'arch'), 'amd64\ni386\n');
    await writeFile(join(directory, 'status'), status);
    const { stdout } = await exec('sh', ['-c', texts.packages], { env: { LC_ALL: 'C', DPKG_ADMINDIR: directory } });
    return stdout.split('\n');
  } finally {
    await rm(directory, { recursive: true });
  }
}

const stanza = (name: string, status: string, ...fields: readonly string[]) =>
  [
    `Package: ${name}`,
    `Status: ${status}`,
    'Maintainer: Nobody <nobody@example.org>',
    ...(fields.some((field) => field.startsWith('Architecture:')) ? [] : ['Architecture: amd64']),
    ...(fields.some((field) => field.startsWith('Version:')) ? [] : ['Version: 1']),
    ...fields,
    'Description: none\n\n',
  ].join('\n');

const contents: Omit<ImageContents, 'packages'> = {
  buildId: 'e7233533-d1cc-46ef-b48c-b22675d3e962',
  time: new Date('2026-11-27T01:02:03.456Z'),
  image: { name: 'a.qcow2', checksums: { sha256: 'a'.repeat(64), sha512: 'b'.repeat(128) } },
  base: { url: 'https://images.example/a.qcow2', sha256: 'c'.repeat(64) },
  system: { distribution: 'debian', release: '13' },
  licences: new Map(),
  downloads: [],
};

/** The package URLs in both bills, which are the same, and the sources that SPDX names. Both must be valid. */
function billsOf(lines: readonly string[]) {
  const all = { ...contents, packages: parsePackages(lines) };
  const { components } = readCyclonedx(cyclonedx(all));
  const { packages } = readSpdx(spdx(all));
  const inBom = components.flatMap(({ purl }) => purl ?? []).sort();
  const inSpdx = packages.flatMap(({ externalRefs = [] }) => externalRefs.map((one) => one.referenceLocator)).sort();
  assert.equal(inSpdx, inBom);
  return { purls: inBom, sources: new Map(packages.map(({ name, sourceInfo }) => [name, sourceInfo])) };
}

const names = (purls: readonly string[]) => purls.map((purl) => /debian\/([^@?]*)/.exec(purl)?.[1]);

test('packages with files in the image are in the bills, whatever state dpkg left them in, and removed ones are not', async () => {
  const lines = await read(
    [
      stanza('configured', 'install ok installed'),
      stanza('half-configured', 'install ok half-configured', 'Config-Version: 1'),
      stanza('half-installed', 'install reinstreq half-installed'),
      stanza('held', 'hold ok installed'),
      stanza('to-remove', 'deinstall ok installed'),
      stanza('triggers-awaited', 'install ok triggers-awaited', 'Triggers-Awaited: triggers-pending'),
      stanza('triggers-pending', 'install ok triggers-pending', 'Triggers-Pending: ldconfig'),
      stanza('unpacked', 'install ok unpacked'),
      stanza('config-files', 'deinstall ok config-files', 'Config-Version: 1', 'Conffiles:', ' /etc/left 0'),
      stanza('purged', 'purge ok not-installed'),
    ].join(''),
  );
  const there = [
    ...['configured', 'half-configured', 'half-installed', 'held', 'to-remove'],
    ...['triggers-awaited', 'triggers-pending', 'unpacked'],
  ];
  assert.equal(names(billsOf(lines).purls), there);
  const manifest = packageManifest(parseListed(lines)).split('\n');
  assert.ok(manifest.includes('config-files\t1'), 'the manifest has it, as those of publishers do');
  assert.equal(
    parsePackages(lines)
      .filter(({ state }) => state === 'unfinished')
      .map(({ name }) => name)
      .sort(),
    ['half-configured', 'half-installed', 'unpacked'],
  );
});

test('a package of two architectures is there twice, and a name that others provide is no package', async () => {
  const { purls } = billsOf(
    await read(
      [
        stanza('libfoo', 'install ok installed', 'Multi-Arch: same', 'Provides: libfoo-1 (= 1), virtual'),
        stanza('libfoo', 'install ok installed', 'Multi-Arch: same', 'Architecture: i386'),
        stanza('foo-data', 'install ok installed', 'Architecture: all', 'Provides: virtual'),
      ].join(''),
    ),
  );
  assert.equal(purls, [
    'pkg:deb/debian/foo-data@1?arch=all&distro=debian-13',
    'pkg:deb/debian/libfoo@1?arch=amd64&distro=debian-13',
    'pkg:deb/debian/libfoo@1?arch=i386&distro=debian-13',
  ]);
});

test('versions with epochs, tildes, plus signs and rebuilds are written as the rules of package URLs demand', async () => {
  const version = (name: string, text: string, ...fields: readonly string[]) =>
    stanza(name, 'install ok installed', `Version: ${text}`, ...fields);
  const { purls, sources } = billsOf(
    await read(
      [
        version('backport', '1.2-3~bpo12+1'),
        version('epoch', '2:9.1.0-1'),
        version('g++-12', '12.2.0-14+deb12u1', 'Source: gcc-12'),
        version('rebuilt', '1:2.0-1+b3', 'Source: rebuilt (1:2.0-1)'),
        version('renamed', '3', 'Source: other (1:4~rc1+dfsg-2)'),
        version('without-source', '5'),
      ].join(''),
    ),
  );
  const distro = 'arch=amd64&distro=debian-13';
  assert.equal(purls, [
    `pkg:deb/debian/backport@1.2-3~bpo12%2B1?${distro}`,
    `pkg:deb/debian/epoch@2:9.1.0-1?${distro}`,
    `pkg:deb/debian/g%2B%2B-12@12.2.0-14%2Bdeb12u1?${distro}&upstream=gcc-12`,
    `pkg:deb/debian/rebuilt@1:2.0-1%2Bb3?${distro}&upstream=rebuilt%401:2.0-1`,
    `pkg:deb/debian/renamed@3?${distro}&upstream=other%401:4~rc1%2Bdfsg-2`,
    `pkg:deb/debian/without-source@5?${distro}`,
  ]);
  assert.is(sources.get('rebuilt'), 'built package from: rebuilt 1:2.0-1');
  assert.is(sources.get('without-source'), 'built package from: without-source 5');
});

test('a package without a version or an architecture, as a database that broke has it, makes valid bills', async () => {
  const lines = await read(
    [
      stanza('broken', 'install reinstreq half-installed').replace('Version: 1\n', ''),
      stanza('bare', 'install ok installed').replace('Architecture: amd64\n', ''),
      stanza('sourced', 'install reinstreq half-installed', 'Source: other').replace('Version: 1\n', ''),
    ].join(''),
  );
  const { purls, sources } = billsOf(lines);
  assert.equal(purls, [
    'pkg:deb/debian/bare@1?distro=debian-13',
    'pkg:deb/debian/broken?arch=amd64&distro=debian-13',
    'pkg:deb/debian/sourced?arch=amd64&distro=debian-13&upstream=other',
  ]);
  assert.is(sources.get('sourced'), 'built package from: other');
});

test('lists that no dpkg prints make valid bills, with each package once', () => {
  const twice = 'twice\tamd64\t1\tii \ttwice\ttwice\t1';
  const { purls } = billsOf([
    twice,
    twice,
    'twice\tamd64\t2\tii \ttwice\ttwice\t2',
    'Ünd/CAPS \u0001\tamd64\t1 2\tii \tx\tx\t1',
    'lone\ud800\tamd64\t1\tii \tx\tx\t',
  ]);
  assert.equal(purls, [
    'pkg:deb/debian/%C3%9Cnd%2FCAPS%20%01@1%202?arch=amd64&distro=debian-13&upstream=x%401',
    'pkg:deb/debian/lone%EF%BF%BD@1?arch=amd64&distro=debian-13&upstream=x',
    'pkg:deb/debian/twice@2?arch=amd64&distro=debian-13',
  ]);
});

test.run();
