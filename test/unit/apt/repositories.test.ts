import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { describeRepositories } from '#lib/apt/repositories/describe.ts';
import { readReleaseFiles } from '#lib/apt/repositories/read-lists.ts';
import type { Repository, RepositoryFiles } from '#lib/apt/repositories/repository.ts';
import { exec } from '#lib/exec.ts';
import { failure } from '../../failure.ts';
import { temporaryFolder, testIds } from '../fetch/with-server.ts';

/** Repositories as the provenance describes them, by real keys, signatures and the real gpgv. */

const url = 'http://archive.example.org/debian';
const release = `Origin: Example
Suite: stable
Codename: twelve
Date: Sat, 13 Jul 2024 09:43:12 UTC
Valid-Until: Sat, 20 Jul 2024 09:43:12 UTC
SHA256:
 ${'0'.repeat(64)} 0 main/binary-amd64/Packages
`;

let home = '';
const gpg = async (args: readonly string[], input = '') =>
  (
    await exec(
      'gpg',
      ['--homedir', home, '--batch', '--no-tty', '--pinentry-mode', 'loopback', '--passphrase', '', ...args],
      { input },
    )
  ).stdout;
const primaries = new Map<string, string>();
const keys = new Map<string, string>();
const key = (name: string) => keys.get(name) ?? '';
const fingerprint = (name: string) => primaries.get(name) ?? '';
let subkey = '';

test.before(async () => {
  home = await mkdtemp(join(tmpdir(), 'imagebuilder-archives-'));
  for (const name of ['one', 'two', 'stranger']) {
    await gpg(['--quick-generate-key', name, 'ed25519', 'sign', 'never']);
  }
  // Made and expired long ago, by a clock of then.
  await gpg(['--faked-system-time', '20200101T000000', '--quick-generate-key', 'old', 'ed25519', 'sign', '1d']);
  for (const line of (await gpg(['--with-colons', '--list-keys'])).split('pub:').slice(1)) {
    const name = /^uid:(?:[^:]*:){8}([^:]*):/m.exec(line)?.[1] ?? '';
    primaries.set(name, /^fpr:(?:[^:]*:){8}([^:]*):/m.exec(line)?.[1] ?? '');
  }
  await gpg(['--quick-add-key', fingerprint('two'), 'ed25519', 'sign', 'never']);
  const [, sub = ''] = (await gpg(['--with-colons', '--list-keys', '=two'])).split('\nsub:');
  subkey = /^fpr:(?:[^:]*:){8}([^:]*):/m.exec(sub)?.[1] ?? '';
  for (const name of primaries.keys()) keys.set(name, await gpg(['--armor', '--export', `=${name}`]));
});
test.after(async () => {
  await exec('gpgconf', ['--homedir', home, '--kill', 'all']);
  await rm(home, { recursive: true, force: true });
});

const signers = (who: readonly string[]) =>
  who.flatMap((each) => ['--local-user', /^[0-9A-F]{40}!?$/.test(each) ? each : `=${each}`]);
const inline = async (who: readonly string[], more: readonly string[] = []) =>
  await gpg([...signers(who), ...more, '--armor', '--clearsign', '--output', '-'], release);
const detached = async (who: string) =>
  await gpg([...signers([who]), '--armor', '--detach-sign', '--output', '-'], release);
const buffers = (files: Readonly<Record<string, string>>) =>
  new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)]));
const list = (name: string) => `archive.example.org_debian_dists_stable_${name}`;

interface Given {
  readonly source?: string;
  readonly name?: string;
  readonly trusted?: readonly string[];
  readonly keyrings?: Readonly<Record<string, string>>;
  readonly releases?: Readonly<Record<string, string>>;
  readonly mirrors?: RepositoryFiles['mirrors'];
}

async function describe({ source = `deb ${url} stable main\n`, name = 'sources.list', ...given }: Given) {
  await using folder = await temporaryFolder();
  return await describeRepositories(
    {
      sources: [{ name, path: `/etc/apt/${name}`, content: Buffer.from(source) }],
      trusted: (given.trusted ?? []).map((content) => ({
        name: 'x.asc',
        path: '/x.asc',
        content: Buffer.from(content),
      })),
      keyrings: buffers(given.keyrings ?? {}),
      releases: buffers(given.releases ?? {}),
      mirrors: given.mirrors ?? new Map(),
    },
    'amd64',
    { workDirectory: folder.path, unprivilegedIds: testIds, signal: new AbortController().signal },
  );
}

async function describeOne(given: Given): Promise<Repository> {
  const { repositories, notKnown } = await describe(given);
  assert.equal([repositories.length, notKnown], [1, null]);
  const [only] = repositories;
  if (only === undefined) throw new Error('no repository');
  return only;
}

const primary = (name: string) => ({ fingerprint: fingerprint(name), subkey: null });

test('the signed file of a repository is named with its digest, its times and the key that has signed it', async () => {
  const signed = await inline(['one']);
  const found = await describeOne({ trusted: [key('one')], releases: { [list('InRelease')]: signed } });
  assert.equal(found, {
    uri: url,
    suite: 'stable',
    file: {
      url: `${url}/dists/stable/InRelease`,
      sha256: createHash('sha256').update(signed).digest('hex'),
      ...{ origin: 'Example', suite: 'stable', codename: 'twelve' },
      ...{ date: '2024-07-13T09:43:12Z', validUntil: '2024-07-20T09:43:12Z' },
    },
    signers: [primary('one')],
    notKnown: [],
  });
});

test('every key that has signed is named, a subkey with its primary key, and one that the source does not trust is not', async () => {
  const both = { [list('InRelease')]: await inline(['one', `${subkey}!`, 'stranger']) };
  const found = await describeOne({ trusted: [key('one') + key('two')], releases: both });
  assert.equal(found.signers, [primary('one'), { fingerprint: fingerprint('two'), subkey }]);
  const fewer = await describeOne({ trusted: [key('two')], releases: both });
  assert.equal(fewer.signers, [{ fingerprint: fingerprint('two'), subkey }]);
});

test('a Release file has its signatures beside it, in several blocks of armour too', async () => {
  const signatures = (await detached('one')) + (await detached('two'));
  const releases = { [list('Release')]: release, [list('Release.gpg')]: signatures };
  const { file, signers } = await describeOne({ trusted: [key('one'), key('two')], releases });
  assert.is(file?.url, `${url}/dists/stable/Release`);
  assert.is(file?.sha256, createHash('sha256').update(release).digest('hex'));
  assert.equal(
    signers.map((each) => each.fingerprint),
    [fingerprint('one'), fingerprint('two')],
  );
});

test('only the keys of Signed-By count where a source has it: a file, fingerprints, or a key in the source', async () => {
  const releases = { [list('InRelease')]: await inline(['one']) };
  const keyrings = { '/k/one.asc': key('one'), '/k/two.asc': key('two') };
  const trusted = [key('one'), key('two')];
  const embedded = (name: string) =>
    key(name)
      .trim()
      .split('\n')
      .map((line) => ` ${line === '' ? '.' : line}`)
      .join('\n');
  const stanza = (signedBy: string) =>
    `Types: deb\nURIs: ${url}/\nSuites: stable\nComponents: main\nSigned-By:${signedBy}\n`;
  for (const [name, own, other] of [
    ['x.list', `deb [signed-by=/k/one.asc] ${url} stable main`, `deb [signed-by=/k/two.asc] ${url} stable main`],
    [
      'x.list',
      `deb [signed-by=${fingerprint('one')}] ${url}/ stable main`,
      `deb [signed-by=${fingerprint('two')}] ${url} stable main`,
    ],
    [
      'x.sources',
      stanza(` ${fingerprint('one').toLowerCase()}!, ${fingerprint('two')}`),
      stanza(` ${fingerprint('stranger')}`),
    ],
    ['x.sources', stanza(' /k/two.asc /k/one.asc'), stanza(' /k/missing.asc')],
    ['x.sources', stanza(`\n${embedded('one')}`), stanza(`\n${embedded('two')}`)],
  ] as const) {
    const found = await describeOne({ name, source: own, trusted, keyrings, releases });
    assert.equal([found.signers, found.notKnown], [[primary('one')], []], own);
    const without = await describeOne({ name, source: other, trusted, keyrings, releases });
    assert.equal(without.signers, [], other);
    assert.match(without.notKnown.join(), /^the key that has signed: /);
    assert.is(without.file?.codename, 'twelve');
  }
});

test('a subkey may be named alone, and then no other key of its owner counts', async () => {
  const source = `deb [signed-by=${subkey}!] ${url} stable main\n`;
  const bySubkey = { [list('InRelease')]: await inline([`${subkey}!`]) };
  const byPrimary = { [list('InRelease')]: await inline([`${fingerprint('two')}!`]) };
  const found = await describeOne({ source, trusted: [key('two')], releases: bySubkey });
  assert.equal(found.signers, [{ fingerprint: fingerprint('two'), subkey }]);
  assert.equal((await describeOne({ source, trusted: [key('two')], releases: byPrimary })).signers, []);
});

test('a signature that proves nothing is called so: none, of an unknown or expired key, or of other text', async () => {
  const signed = await inline(['one']);
  const old = await inline(['old'], ['--faked-system-time', '20200101T120000']);
  for (const [releases, words] of [
    [{ [list('Release')]: release }, /^a signature: there is none$/],
    [
      { [list('InRelease')]: await inline(['stranger']) },
      new RegExp(`source trusts \\(${fingerprint('stranger').slice(-16)}\\)`),
    ],
    [{ [list('InRelease')]: old }, /has expired/],
    [{ [list('InRelease')]: signed.replace('Suite: stable', 'Suite: other') }, /does not match the file/],
    [{ [list('InRelease')]: release }, /the key that has signed: /],
    [
      { [list('InRelease')]: await gpg([...signers(['one']), '--armor', '--sign'], release.repeat(100)) },
      /gpgv has failed/,
    ],
    [{ [list('Release')]: release, [list('Release.gpg')]: 'noise' }, /the key that has signed: /],
    [{}, /^a Release file: /],
  ] as const) {
    const found = await describeOne({ trusted: [key('one'), key('old')], releases });
    assert.equal(found.signers, []);
    assert.match(found.notKnown.join(), words);
  }
});

test('text around the signed part says nothing of the repository', async () => {
  const signed = await inline(['one']);
  const releases = { [list('InRelease')]: `Origin: Evil\nDate: never\n\n${signed}\nCodename: evil\n` };
  const { file } = await describeOne({ trusted: [key('one')], releases });
  assert.equal([file?.origin, file?.codename, file?.date], ['Example', 'twelve', '2024-07-13T09:43:12Z']);
});

test('the files of a repository are found under the names of every apt, whatever form its URL has', async () => {
  const signed = await inline(['one']);
  for (const [source, name, shown] of [
    ['deb http://me:secret@archive.example.org/debian/ stable main', list('InRelease'), url],
    ['deb http://a.example/~me/c++ x main', 'a.example_%7eme_c++_dists_x_InRelease', 'http://a.example/~me/c++'],
    ['deb http://a.example/~me/c++ x main', 'a.example_%7eme_c%2b%2b_dists_x_InRelease', 'http://a.example/~me/c++'],
    [
      'deb http://127.0.0.1:80/a%20b x/updates main',
      '127.0.0.1:80_a%2520b_dists_x_updates_InRelease',
      'http://127.0.0.1/a%20b',
    ],
    ['deb http://a.example/flat ./', 'a.example_flat_._InRelease', 'http://a.example/flat'],
    ['deb http://a.example/$(ARCH) $(ARCH)/', 'a.example_amd64_amd64_InRelease', 'http://a.example/amd64'],
    ['deb mirror+file:/etc/apt/m.list x main', '_etc_apt_m.list_dists_x_InRelease', 'mirror+file:/etc/apt/m.list'],
    ['deb mirror+http://a.example/m x main', 'a.example_m_dists_x_InRelease', 'mirror+http://a.example/m'],
  ] as const) {
    const found = await describeOne({ source, trusted: [key('one')], releases: { [name]: signed } });
    assert.equal([found.uri, found.signers], [shown, [primary('one')]], source);
  }
  const copied = await describeOne({
    source: 'deb mirror+file:/etc/apt/m.list x main',
    trusted: [key('one')],
    releases: { '_proc_self_cwd_etc_mirrors_0.list_dists_x_InRelease': signed },
    mirrors: new Map([['/etc/apt/m.list', '/proc/self/cwd/etc/mirrors/0.list']]),
  });
  assert.equal([copied.uri, copied.signers], ['mirror+file:/etc/apt/m.list', [primary('one')]]);
});

test('files that may be those of another repository are not taken for its own', async () => {
  const source = 'deb http://a.example/x_y s main\ndeb http://a.example/x/y s main\n';
  const releases = { 'a.example_x_y_dists_s_InRelease': await inline(['one']) };
  const { repositories } = await describe({ source, trusted: [key('one')], releases });
  assert.equal(
    repositories.map(({ file }) => file),
    [null, null],
  );
});

test('a repository that several sources name is described once, and discs and sources of source packages are left out', async () => {
  const source = `deb cdrom:[A disc]/ stable main
deb-src ${url} other main
# deb ${url} off main
deb ${url} stable main
deb ${url}/ stable contrib
deb [signed-by=/k/one.asc] ${url} stable-updates main
`;
  const { repositories } = await describe({ source });
  assert.equal(
    repositories.map(({ uri, suite }) => `${uri} ${suite}`),
    [`${url} stable`, `${url} stable-updates`],
  );
});

test('more repositories than an image can need are not looked at, and the description says so', async () => {
  const many = Array.from({ length: 400 }, (_, index) => `${url}/${index}`);
  const source = `Types: deb\nURIs: ${many.join(' ')}\nSuites: ${many.map((_, index) => `s${index}`).join(' ')}\nComponents: main\n`;
  const { repositories, notKnown } = await describe({ source, name: 'x.sources' });
  assert.equal([repositories.length, notKnown], [100, 'repositories beyond the first 100']);
  const long = await failure(describe({ source: `deb ${url} ${'s'.repeat(2000)} main` }));
  assert.is(long.code, 'apt.repository');
});

test('more keys than an image can need are not read, and neither is a keybox, as apt reads none', async () => {
  const releases = { [list('InRelease')]: await inline(['one']) };
  const trusted = Array.from({ length: 201 }, () => key('one'));
  assert.match((await describeOne({ trusted, releases })).notKnown.join(), /trusts more keys than are read/);
  const box = `\0\0\0 \x01\x01\0\0KBXf${key('one')}`;
  assert.match((await describeOne({ trusted: [box], releases })).notKnown.join(), /the image has none for this source/);
});

test('of the lists on the worker only regular files of a sound size are read, and no link is followed', async () => {
  await using folder = await temporaryFolder();
  const place = (name: string) => join(folder.path, name);
  await writeFile(place('a_InRelease'), 'one');
  await writeFile(place('b_Release.gpg'), 'two');
  await writeFile(place('c_Packages'), 'three');
  await writeFile(place('d_Release'), Buffer.alloc(4 * 2 ** 20 + 1));
  await symlink('/etc/passwd', place('e_InRelease'));
  await mkdir(place('f_Release'));
  await exec('mkfifo', [place('g_InRelease')]);
  assert.equal([...(await readReleaseFiles(folder.path))].map(String), ['a_InRelease,one', 'b_Release.gpg,two']);
});

test.run();
