import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readOutsideSources, renderOutsideSource } from '#lib/apt/outside/sources.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { holds } from '../holds.ts';

const read = (text: string, name = 'sources.list') => readOutsideSources([{ name, content: Buffer.from(text) }]);
const render = (text: string, name?: string) =>
  read(text, name).map((source) => renderOutsideSource(source, (path) => `/keys${path}`));

function refusal(text: string, name?: string): string {
  try {
    read(text, name);
    return 'nothing was thrown';
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    assert.is((error as ImageBuilderError).code, 'apt.repository');
    return (error as ImageBuilderError).message;
  }
}

test('the one-line format becomes stanzas with the keyring’s copy in place of its path', () => {
  const text = `# comment
deb http://archive.example.com/ubuntu noble main universe # the archive
deb-src http://archive.example.com/ubuntu noble main

 deb [ arch=amd64,i386 signed-by=/usr/share/keyrings/a.gpg by-hash=force ] https://user:secret@ppa.example.com/x noble/
deb [signed-by=0123456789ABCDEF0123456789ABCDEF01234567] http://ppa.example.com/flat ./
`;
  assert.equal(render(text), [
    `Types: deb
URIs: http://archive.example.com/ubuntu
Suites: noble
Components: main universe
`,
    `Types: deb
URIs: https://user:secret@ppa.example.com/x
Suites: noble/
Architectures: amd64 i386
By-Hash: force
Signed-By: /keys/usr/share/keyrings/a.gpg
`,
    `Types: deb
URIs: http://ppa.example.com/flat
Suites: ./
Signed-By: 0123456789ABCDEF0123456789ABCDEF01234567
`,
  ]);
});

test('deb822 keeps lists, embedded keys and what changes the choice, and leaves out what is switched off', () => {
  const text = `# comment
Types: deb deb-src
URIs: http://archive.example.com/ubuntu
 http://mirror.example.com/ubuntu
Suites: noble noble-updates
# in between
Components: main
X-Repolib-Name: Ubuntu
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFV=
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: file:/not/looked/at
Suites: x/
Enabled: no

Types: deb-src
URIs: http://archive.example.com/ubuntu
Suites: noble
Components: main
`;
  assert.equal(render(text, 'ubuntu.sources'), [
    `Types: deb
URIs: http://archive.example.com/ubuntu http://mirror.example.com/ubuntu
Suites: noble noble-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFV=
 -----END PGP PUBLIC KEY BLOCK-----
`,
  ]);
});

test('a source may ask not to be trusted, but not to be trusted without a signature', () => {
  const options = 'trusted=yes allow-insecure=yes allow-weak=yes allow-downgrade-to-insecure=yes';
  assert.equal(render(`deb [${options}] http://x.example.com a b`), [
    'Types: deb\nURIs: http://x.example.com\nSuites: a\nComponents: b\n',
  ]);
  assert.match(render('deb [trusted=no] http://x.example.com a b').join(''), '\nTrusted: no\n');
});

test('only http and https are read from outside an image, and the refusal says what to do', () => {
  for (const uri of [
    'file:/etc/shadow',
    'file:///srv/repository',
    'copy:/etc',
    'cdrom:[Debian]/',
    'mirror+file:/etc/mirrors',
    'mirror+http://x.example.com/list',
    'mirror://x.example.com/list',
    'tor+http://x.example.com',
    'ftp://x.example.com',
    'rsh:x.example.com/',
    'ssh:x',
    'HTTP://x.example.com',
    'store:/etc/shadow',
    '/etc/shadow',
  ]) {
    const message = refusal(`deb [trusted=yes] ${uri} ./`);
    assert.match(message, 'sources.list');
    assert.match(message, 'IMAGEBUILDER_VM_NETWORK');
    assert.match(refusal(`Types: deb\nURIs: http://x.example.com ${uri}\nSuites: ./\n`, 'a.sources'), 'a.sources');
  }
});

test('a source that cannot be honoured outside, or has wrong syntax, is refused', () => {
  for (const text of [
    'deb http://x.example.com',
    'deb [arch=amd64 http://x.example.com a b',
    'rpm http://x.example.com a b',
    'deb [arch] http://x.example.com a b',
    'deb http:/// a b',
    'deb http://x.example.com/"; a b',
    'deb http://x.example.com a b;c',
    'deb [arch=a;b] http://x.example.com a b',
    'deb [signed-by=/etc/"x] http://x.example.com a b',
    'deb [signed-by=relative/key.gpg] http://x.example.com a b',
    'deb [snapshot=20240101T000000Z] http://x.example.com a b',
  ]) {
    refusal(text);
    assert.not.equal(refusal(text), 'nothing was thrown', text);
  }
  for (const text of [
    'continued\n',
    ' continued\n',
    'Types: deb\nURIs: http://x.example.com\nSuites: a\nInclude: b\n',
  ]) {
    assert.not.equal(refusal(text, 'a.sources'), 'nothing was thrown', text);
  }
});

test('credentials of a source are in no message', () => {
  assert.not.match(refusal('deb http://user:secret@x.example.com/"; a b'), 'secret');
  assert.not.match(refusal('deb ftp://user:secret@x.example.com/ a b'), 'secret');
});

test('no text makes anything but a stanza of the known fields, or a refusal', () => {
  const word = fc.constantFrom(
    'deb',
    'http://x.example.com/a',
    'file:/etc',
    '[',
    ']',
    'trusted=yes',
    'signed-by=/a',
    'Types:',
    'URIs:',
    'Suites:',
    'Signed-By:',
    'Trusted: yes',
    '\n',
    '\n\n',
    ' ',
    'a',
    './',
    '#',
  );
  const text = fc.oneof(
    fc.array(word).map((words) => words.join(' ')),
    fc.array(word).map((words) => words.join('')),
  );
  const known = /^(Types|URIs|Suites|Components|Architectures|By-Hash|Signed-By|Trusted): ?/;
  holds(
    fc.property(text, fc.constantFrom('sources.list', 'a.sources'), (given, name) => {
      let stanzas: string[];
      try {
        stanzas = render(given, name);
      } catch (error) {
        assert.instance(error, ImageBuilderError);
        return;
      }
      for (const stanza of stanzas) {
        const lines = stanza.trimEnd().split('\n');
        assert.ok(
          lines.every((line) => known.test(line)),
          stanza,
        );
        assert.not.match(stanza, /file:|Trusted: yes/);
      }
    }),
    { numRuns: 500 },
  );
});

test('a source of millions of components is one, on one line or on several', () => {
  const components = 'a '.repeat(2 ** 21);
  const line = `deb [arch=amd64] http://x.example.com/ noble ${components}`;
  assert.is(read(line)[0]?.components.length, 2 ** 21);
  const stanza = `Types: deb\nURIs: http://x.example.com/\nSuites: noble\nComponents:\n ${components}`;
  assert.is(read(stanza, 'a.sources')[0]?.components.length, 2 ** 21);
});

test('a key of a hundred thousand lines is a key, and a thousand sources are the most', () => {
  const key = `-----BEGIN PGP PUBLIC KEY BLOCK-----\n${' .\n'.repeat(150_000)}`;
  const stanza = `Types: deb\nURIs: http://x.example.com/\nSuites: ./\nSigned-By:\n ${key}`;
  assert.is(
    render(stanza, 'a.sources')[0]
      ?.split('\n')
      .filter((line) => line === ' .').length,
    150_000,
  );
  const line = 'deb http://x.example.com/ ./\n';
  assert.is(read(line.repeat(1000)).length, 1000);
  assert.match(refusal(line.repeat(1001), 'sources.list'), '1001 sources of its own; at most 1000 are read');
});

test.run();
