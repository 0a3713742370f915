import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseArchiveName } from '#lib/apt/archive-name.ts';
import { parseDownloads, parseUris } from '#lib/apt/downloads.ts';

const sha256 = 'ab'.repeat(32);
const sha512 = 'CD'.repeat(64);

test('file names of packages have name, version and architecture', () => {
  assert.equal(parseArchiveName('git_1%3a2.39.5-0+deb12u3_amd64.deb'), {
    name: 'git',
    version: '1:2.39.5-0+deb12u3',
    architecture: 'amd64',
  });
  assert.is(parseArchiveName('libstdc++6_12~rc1_all.deb')?.version, '12~rc1');
  for (const file of [
    'x_1_2_amd64.deb',
    '-x_1_all.deb',
    'x_1%2f2_all.deb',
    '../x_1_all.deb',
    'x_1_all.udeb',
    'x_1%20-o_all.deb',
  ]) {
    assert.is(parseArchiveName(file), null, file);
  }
});

test('the files that apt would fetch have a URL without credentials, a size, and a digest that is strong', () => {
  const lines = [
    `'http://user:secret@a.example/pool/h/hello_2.10-3_amd64.deb?token=secret' hello_2.10-3_amd64.deb 53124 SHA256:${sha256}`,
    `'mirror+file:/etc/apt/mirrors/a%20b/j.deb' j.deb 100 `,
    `'https://a.example/k.deb' k.deb 1 SHA512:${sha512}`,
    `'https://a.example/l.deb' l.deb 1 MD5Sum:00112233445566778899aabbccddeeff`,
    `'https://a.example/m.deb' m.deb 1 SHA512:${sha256}`,
    'W: something to say',
    "'http://a' b size",
  ];
  assert.equal(
    parseUris(lines).map(({ url, sizeBytes, digest }) => [url, sizeBytes, digest]),
    [
      ['http://a.example/pool/h/hello_2.10-3_amd64.deb?…', 53_124, { sha256 }],
      ['mirror+file:/etc/apt/mirrors/a%20b/j.deb', 100, null],
      ['https://a.example/k.deb', 1, { sha512: sha512.toLowerCase() }],
      ['https://a.example/l.deb', 1, null],
      ['https://a.example/m.deb', 1, null],
    ],
  );
  assert.equal(parseUris([]), []);
});

/** A line of `apt-get --print-uris` for a file below a repository. */
const uri = (repository: string, file: string) => `'${repository}/pool/${file}' ${file} 1 SHA256:${sha256}`;

test('the indexes of a file are those of its repository that have its version, for its architecture', () => {
  const [download] = parseDownloads(
    [uri('http://a.example/debian', 'jq_1%3a1.6-2_amd64.deb')],
    [
      '        jq | 1:1.6-2 | http://a.example/debian bookworm/main amd64 Packages',
      '        jq | 1:1.6-2 | http://a.example/debian bookworm-security/updates/main amd64 Packages',
      '   jq:i386 | 1:1.6-2 | http://a.example/debian bookworm/contrib i386 Packages',
      '        jq | 1:1.6-1 | http://a.example/debian bookworm-updates/main amd64 Packages',
      '        jq | 1:1.6-2 | http://a.example bookworm/main amd64 Packages',
      '        jq | 1:1.6-2 | http://b.example/debian bookworm/main amd64 Packages',
      '        jq | 1:1.6-2 | http://a.example/debian bookworm/main Sources',
      'N: something to say',
    ],
  );
  assert.equal([download?.name, download?.version, download?.architecture], ['jq', '1:1.6-2', 'amd64']);
  assert.equal(download?.places, [
    { uri: 'http://a.example/debian', suite: 'bookworm', component: 'main' },
    { uri: 'http://a.example/debian', suite: 'bookworm-security/updates', component: 'main' },
  ]);
});

test('a package for all architectures is in the index of each, and a flat repository has one for all', () => {
  const downloads = parseDownloads(
    [uri('http://a.example', 'x_1_all.deb'), uri('http://flat.example/r', 'y_1_amd64.deb')],
    [
      '         x | 1 | http://a.example stable/main amd64 Packages',
      '         x | 1 | http://a.example stable/main i386 Packages',
      '         y | 1 | http://flat.example/r ./ Packages',
    ],
  );
  assert.equal(
    downloads.map(({ places }) => places),
    [
      [{ uri: 'http://a.example', suite: 'stable', component: 'main' }],
      [{ uri: 'http://flat.example/r', suite: './', component: null }],
    ],
  );
});

test('a file with the name of no package is left out, and one that no index names has no place', () => {
  const downloads = parseDownloads([uri('http://a.example', 'odd.deb'), uri('http://a.example', 'x_1_all.deb')], []);
  assert.equal(
    downloads.map(({ name, places }) => [name, places]),
    [['x', []]],
  );
});

test.run();
