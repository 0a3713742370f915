import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  distributionSources,
  parseDeb822Sources,
  parseOneLineSources,
  readAptSources,
  readRelease,
} from '../../../lab/images/apt-sources.ts';

const bookworm = { distribution: 'debian', version: '12', codename: 'bookworm' };
const noble = { distribution: 'ubuntu', version: '24.04', codename: 'noble' };

test('one-line sources are read with their options, without comments, deb-src and CDs', () => {
  const text = [
    '# deb http://commented.example/debian bookworm main',
    'deb-src http://mirror.example/debian bookworm main',
    'deb cdrom:[Debian]/ bookworm main',
    'deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main contrib # mine',
    '  deb\thttp://mirror.example/debian-security bookworm-security main',
  ].join('\n');
  assert.equal(parseOneLineSources(text), [
    {
      uri: 'http://mirror.example/debian',
      suite: 'bookworm',
      components: ['main', 'contrib'],
      signedBy: '/usr/share/keyrings/debian-archive-keyring.gpg',
    },
    { uri: 'http://mirror.example/debian-security', suite: 'bookworm-security', components: ['main'], signedBy: null },
  ]);
});

test('deb822 sources are read for each URI and suite; disabled and source stanzas are left out', () => {
  const text = `
Types: deb deb-src
URIs: http://one.example/ubuntu
# a comment in between
 http://two.example/ubuntu
Suites: noble noble-updates
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/ubuntu
Suites: noble
Components: main

Types: deb-src
URIs: http://source.example/ubuntu
Suites: noble
Components: main

types: deb
uris: http://key.example/ubuntu
suites: noble
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
`;
  const found = parseDeb822Sources(text);
  assert.equal(
    found.map(({ uri, suite }) => `${uri} ${suite}`),
    [
      'http://one.example/ubuntu noble',
      'http://one.example/ubuntu noble-updates',
      'http://two.example/ubuntu noble',
      'http://two.example/ubuntu noble-updates',
      'http://key.example/ubuntu noble',
    ],
  );
  assert.equal(found[0]?.components, ['main', 'universe']);
  assert.is(found.at(-1)?.signedBy, 'embedded');
});

test("other vendors' packages, backports and what cannot be fetched are no part of a base image", () => {
  const sources = parseOneLineSources(`
deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor.example/apt bookworm main
deb http://docker.example/debian bookworm stable
deb http://mirror.example/debian bookworm-backports main
deb http://node.example/node nodistro main
deb file:/srv/debian bookworm main
deb http://user:secret@mirror.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-updates main
deb http://mirror.example/debian bookworm-updates main
`);
  assert.equal(
    distributionSources(sources, bookworm).map(({ uri, suite }) => `${uri} ${suite}`),
    ['http://mirror.example/debian bookworm', 'http://mirror.example/debian bookworm-updates'],
  );
});

test('sources that follow "stable" give the release that the machine runs', () => {
  const sources = parseOneLineSources(
    'deb http://m.example/debian stable main\ndeb http://m.example/security stable-security main\ndeb http://m.example/debian testing main',
  );
  assert.equal(
    distributionSources(sources, bookworm).map((source) => source.suite),
    ['bookworm', 'bookworm-security'],
  );
});

test('the keyring of one distribution does not make a source that of the other', () => {
  const sources = parseOneLineSources(
    'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/ubuntu noble main',
  );
  assert.equal(distributionSources(sources, noble), []);
});

test("a machine's sources are those of sources.list and of every .list and .sources file", async () => {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-apt-'));
  try {
    assert.equal(await readAptSources(directory), []);
    await mkdir(join(directory, 'sources.list.d'));
    await writeFile(join(directory, 'sources.list'), 'deb http://a.example/debian bookworm main\n');
    await writeFile(join(directory, 'sources.list.d/b.list'), 'deb http://b.example/debian bookworm main\n');
    await writeFile(
      join(directory, 'sources.list.d/c.sources'),
      'Types: deb\nURIs: http://c.example/debian\nSuites: bookworm\nComponents: main\n',
    );
    await writeFile(join(directory, 'sources.list.d/d.list.save'), 'deb http://d.example/debian bookworm main\n');
    assert.equal(
      (await readAptSources(directory)).map((source) => source.uri),
      ['http://a.example/debian', 'http://b.example/debian', 'http://c.example/debian'],
    );
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('the release is read from os-release, and another distribution is refused by its name', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-release-'));
  const path = join(directory, 'os-release');
  try {
    await writeFile(path, 'PRETTY_NAME="Ubuntu 24.04 LTS"\nID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n');
    assert.equal(await readRelease(path), noble);
    await writeFile(path, 'PRETTY_NAME="Fedora Linux 42"\nID=fedora\nVERSION_ID=42\nVERSION_CODENAME=""\n');
    const message = await readRelease(path).then(
      () => 'taken for Debian',
      (error: Error) => error.message,
    );
    assert.match(message, 'Fedora Linux 42');
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
