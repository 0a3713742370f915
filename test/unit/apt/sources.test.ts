import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageFacts } from '#lib/apt/facts.ts';
import type { PpaSource } from '#lib/apt/launchpad.ts';
import { renderSources } from '#lib/apt/sources.ts';

const armored = '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n=BBBB\n-----END PGP PUBLIC KEY BLOCK-----\n';
const binary = new Uint8Array([0x99, 0x01]);

const source: PpaSource = {
  ppa: { owner: 'project', name: 'c++' },
  url: 'https://ppa.example.com/project/c++/ubuntu',
  key: { fingerprint: 'A'.repeat(40), armored, binary, weakness: null },
};

const facts = (aptVersion: string, more: Partial<ImageFacts> = {}): ImageFacts => ({
  distribution: 'ubuntu',
  distributionVersion: '',
  series: null,
  architecture: 'amd64',
  foreignArchitectures: [],
  aptArchitectures: false,
  aptVersion,
  caCertificates: true,
  aptTransportHttps: false,
  packages: [],
  rooms: [],
  ...more,
});

test('trusty gets a binary key trusted for everything and plain http, with names that apt does not ignore', () => {
  assert.equal(renderSources(source, facts('1.0.1ubuntu2.24'), 'trusty'), [
    { path: '/etc/apt/trusted.gpg.d/project-ubuntu-c__-trusty.gpg', content: binary },
    {
      path: '/etc/apt/sources.list.d/project-ubuntu-c__-trusty.list',
      content: 'deb http://ppa.example.com/project/c++/ubuntu trusty main\n',
    },
  ]);
});

test('xenial gets a binary keyring of the source’s own, and http as it has no https', () => {
  assert.equal(renderSources(source, facts('1.2.35'), 'xenial'), [
    { path: '/etc/apt/keyrings/project-ubuntu-c__-xenial.gpg', content: binary },
    {
      path: '/etc/apt/sources.list.d/project-ubuntu-c__-xenial.list',
      content:
        'deb [signed-by=/etc/apt/keyrings/project-ubuntu-c__-xenial.gpg] http://ppa.example.com/project/c++/ubuntu xenial main\n',
    },
  ]);
});

test('xenial with apt-transport-https, bionic and focal get https', () => {
  for (const [series, version, more] of [
    ['xenial', '1.2.35', { aptTransportHttps: true }],
    ['bionic', '1.6.17', {}],
    ['focal', '2.0.10', {}],
  ] as const) {
    const [key, list] = renderSources(source, facts(version, more), series);
    assert.is(key?.path, `/etc/apt/keyrings/project-ubuntu-c__-${series}.gpg`);
    assert.is(
      list?.content,
      `deb [signed-by=${key?.path}] https://ppa.example.com/project/c++/ubuntu ${series} main\n`,
    );
  }
});

test('jammy and later get one deb822 file with the key inside', () => {
  for (const [series, version] of [
    ['jammy', '2.4.14'],
    ['noble', '2.8.3'],
    ['questing', '3.1.6ubuntu2'],
  ] as const) {
    assert.equal(renderSources(source, facts(version), series), [
      {
        path: `/etc/apt/sources.list.d/project-ubuntu-c__-${series}.sources`,
        content: `Types: deb
URIs: https://ppa.example.com/project/c++/ubuntu
Suites: ${series}
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 =BBBB
 -----END PGP PUBLIC KEY BLOCK-----
`,
      },
    ]);
  }
});

test('without CA certificates even a new apt reads the PPA by http', () => {
  const [file] = renderSources(source, facts('2.8.3', { caCertificates: false }), 'noble');
  assert.match(String(file?.content), 'URIs: http://ppa.example.com/');
});

test.run();
