import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMirrorList } from '#lib/apt/outside/mirrors.ts';
import { readOutsideSources, renderOutsideSource } from '#lib/apt/outside/sources.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { holds } from '../holds.ts';

const read = (text: string, name = 'sources.list') =>
  readOutsideSources([{ name, path: `/etc/apt/${name}`, content: Buffer.from(text) }]);
const render = (text: string, name?: string) =>
  read(text, name).map((source) =>
    renderOutsideSource(
      source,
      (path) => `/keys${path}`,
      (path) => `/lists${path}`,
    ),
  );

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

test('a source may ask to be trusted or not, and no other way around signatures gets through', () => {
  const options = 'allow-insecure=yes allow-weak=yes allow-downgrade-to-insecure=yes';
  assert.equal(render(`deb [${options}] http://x.example.com a b`), [
    'Types: deb\nURIs: http://x.example.com\nSuites: a\nComponents: b\n',
  ]);
  assert.match(render('deb [trusted=yes] http://x.example.com a b').join(''), '\nTrusted: yes\n');
  assert.match(render('deb [trusted=no] http://x.example.com a b').join(''), '\nTrusted: no\n');
});

test('only http and https are read from outside an image, and the refusal says what to do', () => {
  for (const uri of ['file:/etc/shadow', 'file:///srv/repository', 'copy:/etc']) {
    const message = refusal(`deb [trusted=yes] ${uri} ./`);
    assert.match(message, 'sources.list is a folder of the image itself');
    assert.match(message, 'IMAGEBUILDER_VM_NETWORK');
  }
  for (const [uri, scheme] of [
    ['tor+http://x.example.com', 'tor+http'],
    ['ftp://x.example.com', 'ftp'],
    ['rsh:x.example.com/', 'rsh'],
    ['ssh:x', 'ssh'],
    ['s3://bucket/x', 's3'],
    ['HTTP://x.example.com', 'HTTP'],
    ['store:/etc/shadow', 'store'],
    ['mirror+ftp://x.example.com', 'mirror+ftp'],
    ['mirror+file:relative', 'mirror+file'],
    ['mirror+file:/etc/../x', 'mirror+file'],
    ['/etc/shadow', ''],
  ] as const) {
    assert.ok(refusal(`deb [trusted=yes] ${uri} ./`).includes(`sources.list is read with "${scheme}", for which`), uri);
    assert.match(refusal(`Types: deb\nURIs: http://x.example.com ${uri}\nSuites: ./\n`, 'a.sources'), 'a.sources');
  }
});

test('lists of mirrors in the image are read from a copy, those of servers as they are', () => {
  assert.equal(
    render(`deb mirror+file:/etc/apt/mirrors/debian.list bookworm main
deb mirror://mirrors.example.com/list noble main
deb mirror+https://mirrors.example.com/list noble main
`).map((text) => text.split('\n')[1]),
    [
      'URIs: mirror+file:/lists/etc/apt/mirrors/debian.list',
      'URIs: mirror://mirrors.example.com/list',
      'URIs: mirror+https://mirrors.example.com/list',
    ],
  );
  assert.match(
    render('Types: deb\nURIs: mirror+file:///m.list\nSuites: a\nComponents: b\n', 'a.sources').join(),
    '/lists/m.list',
  );
});

test('of a list of mirrors only those by http and https are read, with their priorities and filters', () => {
  const list = `# comment

http://a.example.com/debian\tpriority:1 arch:amd64\tarch:all type:index
  https://b.example.com/debian
file:/etc
copy:/root
cdrom:x
mirror+file:/etc/passwd
http://c.example.com/debian\tpriority:"; x
http://d.example.com/"x
http:///
`;
  const text =
    'http://a.example.com/debian\tpriority:1\tarch:amd64\tarch:all\ttype:index\nhttps://b.example.com/debian\n';
  assert.is(parseMirrorList('/m.list', Buffer.from(list)), text);
  assert.is(parseMirrorList('/m.list.gz', gzipSync(list)), text);
  for (const [path, content, reason] of [
    ['/m.list', undefined, 'is not in the image'],
    ['/m.list', Buffer.from('file:/srv\n'), 'names no mirror by http or https'],
    ['/m.list', Buffer.alloc(2 ** 20 + 1, 'x'), 'larger than 1 MiB'],
    ['/m.list.gz', gzipSync(Buffer.alloc(2 ** 21)), 'larger than 1 MiB'],
    ['/m.list.gz', Buffer.from('no gzip'), 'compressed in a way'],
    ['/m.list.xz', Buffer.from('x'), 'compressed in a way'],
    ['/m.list', Buffer.from('http://x.example.com/\n'.repeat(1_001)), 'more than 1000'],
  ] as const) {
    assert.throws(() => parseMirrorList(path, content), new RegExp(reason), path);
  }
});

test('a disc is left out with a warning, and with it a source that has no other address', () => {
  const warnings: string[] = [];
  const disc = 'cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_ - Official amd64 DVD]/';
  const text = `deb ${disc} bookworm main non-free\ndeb http://x.example.com a b\n`;
  const found = readOutsideSources(
    [{ name: 'a.list', path: '/etc/apt/a.list', content: Buffer.from(text) }],
    (message) => warnings.push(message),
  );
  assert.equal(
    found.map(({ uris }) => uris),
    [['http://x.example.com']],
  );
  const stanza = 'Types: deb\nURIs: cdrom:x http://x.example.com\nSuites: a\nComponents: b\n';
  assert.equal(
    read(stanza, 'a.sources').map(({ uris }) => uris),
    [['http://x.example.com']],
  );
  assert.equal(warnings, [`the image's own source ${disc} is left out: it is a CD that is not there`]);
});

test('a folder where live systems and installers mount their medium is a disc, and other folders are none', () => {
  for (const uri of [
    ...['file:/cdrom', 'file:///cdrom', 'file:///cdrom/', 'file:/media/cdrom', 'file:///media/cdrom0', 'copy:/cdrom'],
    ...['file:/run/live/medium/', 'file:///lib/live/mount/medium'],
  ]) {
    assert.equal(
      read(`Types: deb\nURIs: ${uri}\nSuites: resolute\nComponents: main\nCheck-Date: no\n`, 'cdrom.sources'),
      [],
    );
    assert.equal(read(`deb [check-date=no] ${uri} focal main restricted\n`, 'sources.list'), [], uri);
  }
  for (const uri of ['file:/cdroms', 'file:/srv/cdrom', 'file:/cdrom/../srv', 'file:/media/usb']) {
    assert.match(refusal(`deb ${uri} a b`), 'is a folder of the image itself', uri);
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
