import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parsePackages } from '#lib/apt/packages.ts';
import { exec } from '#lib/exec.ts';
import { readFindings } from '#lib/guest/findings.ts';
import type { ImageContents } from '#lib/manifest/contents.ts';
import { cyclonedx } from '#lib/manifest/cyclonedx.ts';
import { readLicences } from '#lib/manifest/licences.ts';
import { spdx } from '#lib/manifest/spdx.ts';
import { readCyclonedx } from '../../bills/cyclonedx.ts';
import { readSpdx } from '../../bills/spdx.ts';

/** Software bills of materials, as scanners read them. */

const lines = [
  'libstdc++6\tamd64\t14.2.0-4\tii \tlibstdc++6\tgcc-14\t14.2.0-4',
  'libstdc++6\ti386\t14.2.0-4\tii \tlibstdc++6\tgcc-14\t14.2.0-4',
  'vim\tamd64\t2:9.1.0+b1\tii \tvim\tvim\t2:9.1.0',
  'old\tall\t1\tii \told\t\t',
];
const checksums = { sha256: 'a'.repeat(64), sha512: 'b'.repeat(128) };
const contents: ImageContents = {
  buildId: 'e7233533-d1cc-46ef-b48c-b22675d3e962',
  time: new Date('2026-11-27T01:02:03.456Z'),
  image: { name: 'trixie-T-77-e7233533.qcow2', checksums },
  base: { url: 'https://images.example/trixie.qcow2', sha256: 'c'.repeat(64) },
  system: { distribution: 'debian', release: '13' },
  packages: parsePackages(lines),
  licences: new Map(),
  downloads: [
    {
      ...{ name: 'vim', architecture: 'amd64', version: '2:9.1.0+b1' },
      url: 'http://deb.example/debian/pool/vim_9.1.0%2bb1_amd64.deb',
      digest: { sha256: 'd'.repeat(64) },
      places: [{ uri: 'http://deb.example/debian', suite: 'trixie', component: 'main' }],
    },
    {
      ...{ name: 'old', architecture: 'all', version: '1' },
      ...{ url: 'mirror+file:/etc/apt/mirrors.list/old_1_all.deb', digest: { sha512: 'e'.repeat(128) }, places: [] },
    },
    {
      ...{ name: 'libstdc++6', architecture: 'i386', version: '14.2.0-4' },
      ...{ url: 'https://flat.example/l.deb', digest: null },
      places: [{ uri: 'https://flat.example', suite: './', component: null }],
    },
  ],
};
const copyright = (...statements: readonly string[]) =>
  Buffer.from(
    ['Format: https://x/copyright-format/1.0/', ...statements.map((text) => `Files: *\nLicense: ${text}`)].join('\n\n'),
  );
const purl = 'pkg:deb/debian/vim@2:9.1.0%2Bb1?arch=amd64&distro=debian-13&upstream=vim%402:9.1.0';

test('CycloneDX describes the image by its digests, its base image, its system and its packages', () => {
  const bom = readCyclonedx(cyclonedx(contents));
  assert.is(bom.serialNumber, `urn:uuid:${contents.buildId}`);
  assert.is(bom.metadata.component.name, contents.image.name);
  assert.equal(bom.metadata.component.hashes, [
    { alg: 'SHA-256', content: checksums.sha256 },
    { alg: 'SHA-512', content: checksums.sha512 },
  ]);
  const base = bom.components.find(({ name }) => name === contents.base.url);
  assert.equal(base?.hashes, [{ alg: 'SHA-256', content: contents.base.sha256 }]);
  const systems = bom.components.filter(({ type }) => type === 'operating-system');
  assert.equal(
    systems.map(({ name, version }) => [name, version]),
    [['debian', '13']],
    'Trivy refuses a document with two systems',
  );
  assert.is(bom.components.find(({ name }) => name === 'vim')?.purl, purl);
});

test('CycloneDX has the packages below the system, and their source packages under the names of Trivy', () => {
  const bom = readCyclonedx(cyclonedx(contents));
  assert.is(bom.dependencies.find(({ ref }) => ref === 'operating-system')?.dependsOn?.length, lines.length);
  const properties = (wanted: string) =>
    bom.components.find(({ name }) => name === wanted)?.properties?.map(({ name, value }) => `${name}=${value}`);
  assert.equal(properties('vim'), [
    'aquasecurity:trivy:SrcEpoch=2',
    'aquasecurity:trivy:SrcName=vim',
    'aquasecurity:trivy:SrcVersion=9.1.0',
    'imagebuilder:repository=http://deb.example/debian trixie main',
  ]);
  assert.equal(properties('old'), undefined);
});

test('both have the digest and the URL of each package file that the build has fetched, and of no other', () => {
  const { components } = readCyclonedx(cyclonedx(contents));
  const inBom = (purl: RegExp) => {
    const found = components.find((component) => purl.test(component.purl ?? ''));
    return [found?.hashes, found?.externalReferences];
  };
  const { packages } = readSpdx(spdx(contents));
  const inSpdx = (wanted: string) => {
    const found = packages.find(({ SPDXID }) => SPDXID === `SPDXRef-Package-${wanted}`);
    return [found?.checksums, found?.downloadLocation, found?.comment];
  };
  const url = 'http://deb.example/debian/pool/vim_9.1.0%2bb1_amd64.deb';
  assert.equal(inBom(/vim@/), [[{ alg: 'SHA-256', content: 'd'.repeat(64) }], [{ type: 'distribution', url }]]);
  assert.equal(inSpdx('amd64-vim'), [
    [{ algorithm: 'SHA256', checksumValue: 'd'.repeat(64) }],
    url,
    'from the repository http://deb.example/debian trixie main',
  ]);
  assert.equal(inBom(/old@/), [[{ alg: 'SHA-512', content: 'e'.repeat(128) }], undefined], 'a way that only apt knows');
  assert.equal(inSpdx('all-old'), [
    [{ algorithm: 'SHA512', checksumValue: 'e'.repeat(128) }],
    'NOASSERTION',
    undefined,
  ]);
  const flat = 'https://flat.example/l.deb';
  assert.equal(inBom(/arch=i386/), [undefined, [{ type: 'distribution', url: flat }]], 'a digest that nobody knows');
  assert.equal(inSpdx('i386-libstdcX002BX002B6'), [undefined, flat, 'from the repository https://flat.example ./']);
  assert.equal(inBom(/stdc.*arch=amd64/), [undefined, undefined]);
  assert.equal(inSpdx('amd64-libstdcX002BX002B6'), [undefined, 'NOASSERTION', undefined]);
});

test('SPDX describes the image by its digests, its base image, its system and its packages', () => {
  const { packages, relationships, creationInfo } = readSpdx(spdx(contents));
  const find = (id: string) => packages.find(({ SPDXID }) => SPDXID === id);
  assert.is(creationInfo.created, '2026-11-27T01:02:03Z');
  assert.equal(
    find('SPDXRef-Application-Image')?.checksums?.map(({ checksumValue }) => checksumValue),
    [checksums.sha256, checksums.sha512],
  );
  assert.is(find('SPDXRef-Application-BaseImage')?.checksums?.[0]?.checksumValue, contents.base.sha256);
  assert.is(find('SPDXRef-OperatingSystem')?.versionInfo, '13');
  const vim = packages.find(({ name }) => name === 'vim');
  assert.is(vim?.externalRefs?.[0]?.referenceLocator, purl);
  assert.is(vim?.sourceInfo, 'built package from: vim 2:9.1.0');
  const contained = relationships.filter(({ spdxElementId }) => spdxElementId === 'SPDXRef-OperatingSystem');
  assert.is(contained.length, lines.length);
  assert.is(
    relationships.find(({ relationshipType }) => relationshipType === 'DESCENDANT_OF')?.spdxElementId,
    'SPDXRef-Application-Image',
  );
});

const licensed = {
  ...contents,
  licences: readLicences(
    new Map([
      ['libstdc++6', copyright('GPL-3+ with GCC exception', 'GPL-3+')],
      ['vim', copyright('Vim', 'Expat or Odd', 'GPL-2+ with Font exception')],
      ['old', copyright('odd', 'Public domain', 'GPL-2+')],
    ]),
  ),
};

test('both name the licences that copyright files declare, by SPDX’s ids or the files’ own names', () => {
  const { components } = readCyclonedx(cyclonedx(licensed));
  const inBom = (wanted: string) => components.find(({ name }) => name === wanted)?.licenses;
  const acknowledgement = 'declared';
  assert.equal(inBom('old'), [
    { license: { name: 'odd', acknowledgement } },
    { license: { name: 'Public domain', acknowledgement } },
    { license: { id: 'GPL-2.0-or-later', acknowledgement } },
  ]);
  const expression = 'GPL-2.0-or-later WITH Font-exception-2.0 AND (MIT OR LicenseRef-odd) AND Vim';
  assert.equal(inBom('vim'), [{ expression, acknowledgement }]);
  assert.is(inBom('debian'), undefined);
  const { packages, hasExtractedLicensingInfos } = readSpdx(spdx(licensed));
  const declared = packages.map(({ name, licenseDeclared }) => `${name}: ${licenseDeclared}`);
  const library = 'libstdc++6: GPL-3.0-or-later AND LicenseRef-gpl-3-plus-with-gcc-exception';
  const old = 'old: GPL-2.0-or-later AND LicenseRef-odd AND LicenseRef-public-domain';
  assert.equal(declared.slice(3), [old, library, `vim: ${expression}`, library]);
  assert.equal(
    hasExtractedLicensingInfos?.map(({ licenseId, name }) => [licenseId, name]),
    [
      ['LicenseRef-gpl-3-plus-with-gcc-exception', 'GPL-3+ with GCC exception'],
      ['LicenseRef-odd', 'Odd'],
      ['LicenseRef-public-domain', 'Public domain'],
    ],
  );
});

test('the order in which packages are read changes nothing', () => {
  const turned = { ...licensed, packages: contents.packages.toReversed() };
  assert.is(cyclonedx(turned), cyclonedx(licensed));
  assert.is(spdx(turned), spdx(licensed));
});

test('an epoch of a damaged database is no number for Trivy, and an unknown release is left out', () => {
  const packages = parsePackages(['odd\tall\t1\tii \todd\todd\tx:1-2']);
  const odd = { ...contents, packages, system: { distribution: 'debian', release: '' } };
  const bom = readCyclonedx(cyclonedx(odd));
  assert.not(bom.components.some(({ properties }) => properties?.some(({ name }) => name.endsWith('SrcEpoch'))));
  assert.is(bom.components.find(({ type }) => type === 'operating-system')?.version, undefined);
  readSpdx(spdx(odd));
});

test('the packages of this machine make valid documents, each with its source, most with licences', async () => {
  const script = (path: string) => readFileSync(join(import.meta.dirname, '../../../lib', path), 'utf8');
  const { stdout } = await exec('sh', ['-c', script('apt/scripts/packages.sh')]);
  const packages = parsePackages(stdout.split('\n'));
  assert.ok(packages.length > 100 && packages.every(({ source }) => source !== undefined));
  const directory = mkdtempSync(join(tmpdir(), 'imagebuilder-bills-'));
  const path = join(directory, 'findings');
  await exec('sh', ['-c', `exec 4>"$0"; ${script('guest/scripts/copyright.sh')}`, path]);
  const licences = readLicences((await readFindings(path)).copyrights);
  rmSync(directory, { recursive: true });
  const bom = readCyclonedx(cyclonedx({ ...contents, packages, licences }));
  const libraries = bom.components.filter(({ type }) => type === 'library');
  assert.is(libraries.length, packages.length);
  const document = readSpdx(spdx({ ...contents, packages, licences }));
  assert.is(document.packages.length, packages.length + 3);
  const isLicensed = libraries.filter((component) => component.licenses !== undefined).length;
  assert.ok(isLicensed > packages.length / 2, `${isLicensed} of ${packages.length}`);
  assert.is(document.packages.filter(({ licenseDeclared }) => licenseDeclared !== 'NOASSERTION').length, isLicensed);
});

test.run();
