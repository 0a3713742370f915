import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertArchitecture, assertSeries, parseFacts } from '#lib/apt/facts.ts';
import { comparePackages, type InstalledPackage, parsePackages } from '#lib/apt/packages.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const apt = (version: string): InstalledPackage => ({
  name: 'apt',
  architecture: 'amd64',
  version,
  state: 'installed',
});

const trusty = [
  'os-release NAME="Ubuntu"',
  'os-release VERSION="14.04.6 LTS, Trusty Tahr"',
  'os-release ID=ubuntu',
  'os-release VERSION_ID="14.04"',
  'lsb-release DISTRIB_ID=Ubuntu',
  'lsb-release DISTRIB_CODENAME=trusty',
  'debian-version jessie/sid',
  'architecture amd64',
  'foreign-architecture i386',
  'ca-certificates present',
];

test('trusty, whose os-release has no codename, is known by its lsb-release', () => {
  const facts = parseFacts(trusty, [apt('1.0.1ubuntu2.24')]);
  assert.is(facts.series, 'trusty');
  assert.is(facts.distribution, 'ubuntu');
  assert.is(facts.distributionVersion, '14.04');
  assert.equal(facts.foreignArchitectures, ['i386']);
  assert.is(facts.aptVersion, '1.0.1ubuntu2.24');
  assert.is(facts.caCertificates, true);
  assert.is(facts.aptTransportHttps, false);
  assert.is(facts.aptArchitectures, false);
  assert.is(parseFacts([...trusty, 'apt-architectures set'], [apt('1.0.1ubuntu2.24')]).aptArchitectures, true);
});

test('the series of other releases is found in any of its places', () => {
  const series = (...lines: string[]) => parseFacts(['architecture amd64', ...lines], [apt('2.0')]).series;
  assert.is(series('os-release ID=ubuntu', 'os-release VERSION_CODENAME=noble'), 'noble');
  assert.is(series("os-release VERSION_CODENAME='bookworm'"), 'bookworm');
  assert.is(series('os-release VERSION_CODENAME=wilma', 'os-release UBUNTU_CODENAME=noble'), 'noble');
  assert.is(series('os-release VERSION="8 (jessie)"', 'debian-version 8.11'), 'jessie');
  assert.is(series('os-release ID=debian', 'debian-version bookworm/sid'), 'bookworm');
  assert.is(series('os-release ID=debian', 'debian-version 12.5'), null);
});

test('another series than the one asked for is refused, both named', () => {
  const facts = parseFacts(trusty, [apt('1.0.1ubuntu2.24')]);
  assertSeries(facts, 'trusty');
  const error = thrown(() => assertSeries(facts, 'noble'));
  assert.is(error.code, 'image.series');
  assert.match(error.message, /"noble".*"trusty".*ubuntu 14\.04/);
});

test('an image of an architecture that its kind does not have is unsupported', () => {
  const facts = parseFacts(trusty, [apt('1.0.1ubuntu2.24')]);
  assertArchitecture(facts, [facts.architecture]);
  const error = thrown(() => assertArchitecture(facts, ['armhf', 'arm64']));
  assert.is(error.code, 'image.unsupported');
  assert.match(error.message, /for amd64; images of this kind are for armhf, arm64/);
});

test('an image without dpkg or apt is unsupported', () => {
  assert.is(
    thrown(() => parseFacts(['missing dpkg', 'missing apt-get', 'architecture '], [])).code,
    'image.unsupported',
  );
  assert.is(thrown(() => parseFacts(['architecture amd64'], [])).code, 'image.unsupported');
});

test('a dpkg that was interrupted, or packages it left half installed, make the image corrupt', () => {
  const packages = parsePackages(['apt\tamd64\t2.0\tii ', 'foo\tall\t1\tiF ', 'bar\tall\t1\tiU ']);
  const error = thrown(() => parseFacts(['architecture amd64'], packages));
  assert.is(error.code, 'image.corrupt');
  assert.match(error.message, /foo, bar/);
  assert.is(thrown(() => parseFacts(['architecture amd64', 'interrupted dpkg'], [apt('2.0')])).code, 'image.corrupt');
});

test('removed packages do not count, held ones and those waiting for triggers do', () => {
  const lines = ['a\tall\t1\tii ', 'b\tall\t1\trc ', 'c\tall\t1\thi ', 'd\tall\t1\tit ', 'e\tall\t\tun ', ''];
  assert.equal(
    parsePackages(lines).map(({ name, state }) => `${name} ${state}`),
    ['a installed', 'c installed', 'd installed'],
  );
});

test('changes of a build have the versions before and after, foreign architectures apart', () => {
  const before = parsePackages(['libc6\tamd64\t2.36\tii ', 'old\tall\t1\tii ', 'same\tall\t1\tii ']);
  const after = parsePackages([
    'libc6\tamd64\t2.37\tii ',
    'libc6\ti386\t2.37\tii ',
    'same\tall\t1\tii ',
    'new\tamd64\t1\tii ',
  ]);
  assert.equal(comparePackages(before, after, 'amd64'), {
    changed: [
      { name: 'libc6', version: '2.37', previous_version: '2.36' },
      { name: 'libc6:i386', version: '2.37' },
      { name: 'new', version: '1' },
    ],
    removed: [{ name: 'old', version: '1', architecture: 'all' }],
  });
});

function thrown(action: () => unknown): ImageBuilderError {
  try {
    action();
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    return error as ImageBuilderError;
  }
  throw new Error('nothing was thrown');
}

test.run();
