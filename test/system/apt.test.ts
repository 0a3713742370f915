import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openAptCaches } from '#lib/apt/caches.ts';
import { assertSeries, type ImageFacts, readImageFacts } from '#lib/apt/facts.ts';
import { installPackages } from '#lib/apt/install.ts';
import { type PpaSource, resolvePpa } from '#lib/apt/launchpad.ts';
import { comparePackages, readPackages } from '#lib/apt/packages.ts';
import { addSources, renderSources } from '#lib/apt/sources.ts';
import { type AptProgress, updateLists } from '#lib/apt/update.ts';
import { compareVersions } from '#lib/apt/version.ts';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { failingPackage, type Launchpad, type PpaRecipe, startLaunchpad } from '../../lab/servers/launchpad.ts';
import { failure } from '../failure.ts';
import { type Chroot, minimalSystem, openChroot } from './apt-chroot.ts';

/** Real apt in a small real system of this machine's release, real PPAs, the machine's own mirror. */

const client = createHttpClient({
  egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
  connectTimeoutMs: 10_000,
  stallTimeoutMs: 10_000,
  userAgent: 'test',
});
const signal = new AbortController().signal;
let system: { tar: string; series: string };
let launchpad: Launchpad;
/** For all tests that leave its packages fit for the next. */
let shared: Chroot;

const flaws = ['unsigned', 'wrong-signature', 'wrong-hash', 'expired'] as const;

test.before(async () => {
  system = await minimalSystem();
  shared = await openChroot(system.tar);
  const plain = (name: string, flaw?: PpaRecipe['flaw']): PpaRecipe => ({
    owner: 'project',
    name,
    series: [system.series],
    key: 'ed25519',
    packages: [{ name: 'hello-flawed' }],
    ...(flaw === undefined ? {} : { flaw }),
  });
  launchpad = await startLaunchpad({
    ppas: [
      {
        owner: 'project',
        name: 'c++',
        series: [system.series],
        packages: [
          { name: 'hello-one', version: '1:1.0+b-1', files: { '/usr/bin/hello-one': '#!/bin/sh\necho one\n' } },
          {
            name: 'hello-two',
            fields: { Depends: 'hello-one (>= 1:1.0), jq', Recommends: 'hello-extra' },
            files: { '/etc/hello.conf': 'new\n' },
            conffiles: ['/etc/hello.conf'],
          },
          { name: 'hello-extra' },
          { name: 'needs-nothing-there', fields: { Depends: 'not-there (>= 2), neither-there' } },
          { name: 'hates-one', fields: { Conflicts: 'hello-one' } },
          { name: 'big', files: { '/opt/big': Buffer.alloc(48 * 1024 * 1024, 'big') } },
          failingPackage('hello-failing', 'the moon is in the wrong phase'),
        ],
      },
      plain('sound'),
      ...flaws.map((flaw) => plain(flaw, flaw)),
    ],
  });
});
test.after(async () => {
  await shared[Symbol.asyncDispose]();
  await launchpad[Symbol.asyncDispose]();
  client[Symbol.dispose]();
});

const resolve = (name: string): Promise<PpaSource> =>
  resolvePpa(
    { owner: 'project', name },
    {
      launchpadApiUrl: launchpad.apiUrl,
      ppaUrl: launchpad.ppaUrl,
      series: system.series,
      client,
      workDirectory: tmpdir(),
      unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
      signal,
    },
  );

const quiet = {
  sources: [],
  proxyUrl: null,
  recommends: false,
  signal,
  retryPausesMs: [],
  onLog: () => {},
  onProgress: () => {},
};

/** Makes a PPA, or nothing, the only source of a system. */
async function setSource({ root, session: open }: Chroot, source: PpaSource | null, series = system.series) {
  await rm(join(root, 'etc/apt/sources.list'), { force: true });
  await rm(join(root, 'etc/apt/sources.list.d'), { recursive: true, force: true });
  await rm(join(root, 'var/lib/apt/lists'), { recursive: true, force: true });
  await mkdir(join(root, 'etc/apt/sources.list.d'));
  const session = open();
  const facts = await readImageFacts(session);
  if (source !== null) await addSources(session, facts, [source], series);
  return { session, facts };
}

test('PPA and Debian packages are installed, no list or archive lands in the image, and the changes are reported', async () => {
  await using chroot = await openChroot(system.tar);
  const caches = await openAptCaches({
    cacheDirectory: join(chroot.directory, 'cache'),
    cacheBytes: 1_000_000_000,
    baseImageSha256: 'a'.repeat(64),
    workDirectory: chroot.directory,
    signal,
  });
  await using _ = caches;
  const session = chroot.session({ binds: caches.binds });
  const before = await snapshot(chroot);
  const facts = await readImageFacts(session);
  assertSeries(facts, system.series);
  assert.is((await failure(Promise.resolve().then(() => assertSeries(facts, 'trusty')))).code, 'image.series');
  const source = await resolve('c++');
  await addSources(session, facts, [source], system.series);
  const once = await snapshot(chroot);
  await addSources(session, facts, [source], system.series);
  assert.equal(await snapshot(chroot), once, 'adding the same source again changes something');

  const log: string[] = [];
  const progress: AptProgress[] = [];
  const options = {
    ...quiet,
    onLog: (line: string) => log.push(line),
    onProgress: (step: AptProgress) => progress.push(step),
  };
  await updateLists(session, { ...options, sources: [source] });
  assert.ok(progress.length > 0 && progress.every(({ current, total }) => current <= total && total === 100));
  await caches.publish([source]);
  progress.length = 0;
  await writeFile(join(chroot.root, 'etc/hello.conf'), 'old\n');
  const plan = await installPackages(session, ['hello-two', 'hello-one=1:1.0+b-1', `jq/${system.series}`], options);
  assert.equal(plan.install.filter((name) => name.startsWith('hello')).sort(), ['hello-one', 'hello-two']);
  const total = 2 * plan.install.length;
  assert.ok(progress.every((step) => step.total === total && step.current <= total));
  assert.ok(progress.some(({ message }) => /hello-two/.test(message)));
  assert.ok(log.some((line) => line.startsWith('Setting up hello-two')));
  assert.is(await readFile(join(chroot.root, 'etc/hello.conf'), 'utf8'), 'old\n', 'a changed conffile is not kept');

  const { changed, removed } = comparePackages(facts.packages, await readPackages(session), facts.architecture);
  assert.equal(changed.map(({ name }) => name).sort(), [...plan.install].sort());
  assert.is(changed.find(({ name }) => name === 'hello-one')?.version, '1:1.0+b-1');
  assert.equal(removed, []);

  assert.equal(await readdir(join(chroot.root, 'var/lib/apt/lists')), before.lists);
  assert.equal(await readdir(join(chroot.root, 'var/cache/apt')), before.cache);
  const configuration = await exec('grep', ['-rlE', 'Acquire::|force-unsafe-io', join(chroot.root, 'etc/apt')], {
    okExitCodes: [0, 1],
  });
  assert.equal(configuration.stdout, before.configuration);

  const published = await readdir(join(chroot.directory, 'cache/apt-lists', 'a'.repeat(64)));
  assert.ok(published.some((name) => name.endsWith('_Packages')));
  assert.not.ok(published.some((name) => name.includes('project')));
  await using next = await openAptCaches({
    cacheDirectory: join(chroot.directory, 'cache'),
    cacheBytes: 1_000_000_000,
    baseImageSha256: 'a'.repeat(64),
    workDirectory: chroot.directory,
    signal,
  });
  log.length = 0;
  await updateLists(chroot.session({ binds: next.binds }), { ...options, sources: [source] });
  assert.not.ok(
    log.some((line) => /^Get:.*main amd64 Packages/.test(line) && !line.includes('/project/')),
    'lists that were published are fetched again',
  );
});

async function snapshot({ root }: Chroot) {
  const folder = join(root, 'etc/apt/sources.list.d');
  const sources = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const found = await stat(join(folder, name));
      return { name, mode: found.mode & 0o777, uid: found.uid, text: await readFile(join(folder, name), 'utf8') };
    }),
  );
  const configuration = await exec('grep', ['-rlE', 'Acquire::|force-unsafe-io', join(root, 'etc/apt')], {
    okExitCodes: [0, 1],
  });
  return {
    sources,
    configuration: configuration.stdout,
    lists: await readdir(join(root, 'var/lib/apt/lists')),
    cache: await readdir(join(root, 'var/cache/apt')),
  };
}

test('one error names every package that cannot be had and why, and nothing is installed', async () => {
  const { session, facts } = await setSource(shared, await resolve('c++'));
  await updateLists(session, { ...quiet, sources: [] });
  const wanted = ['missing-a', 'hello-one', 'hello-extra=9', 'needs-nothing-there', 'bash-', 'hello-one/sid'];
  const error = await failure(installPackages(session, wanted, quiet));
  assert.is(error.code, 'apt.package');
  assert.equal(
    error.faults.map(({ path }) => path),
    [0, 2, 3, 4, 5].map((index) => `$.package_list[${index}]`),
  );
  assert.match(error.message, /missing-a: no repository/);
  assert.match(error.message, /hello-extra=9: there is no version 9/);
  assert.match(error.message, /needs-nothing-there: Depends: not-there \(>= 2\).*neither-there/);
  assert.match(error.message, /bash-: no repository/);
  assert.match(error.message, /hello-one\/sid: the suite sid/);
  const conflict = await failure(installPackages(session, ['hates-one', 'hello-one'], quiet));
  assert.is(conflict.code, 'apt.package');
  assert.match(conflict.message, /hates-one/);
  assert.equal(await readPackages(session), facts.packages);
});

test('a package whose script fails is named, with what it said', async () => {
  await using chroot = await openChroot(system.tar);
  const { session } = await setSource(chroot, await resolve('c++'));
  await updateLists(session, { ...quiet, sources: [] });
  const error = await failure(installPackages(session, ['hello-one', 'hello-failing'], quiet));
  assert.is(error.code, 'apt.install');
  assert.match(error.message, /hello-failing: .*post-installation script.* 7/);
  assert.ok(error.logTail.includes('the moon is in the wrong phase'));
  assert.is((await failure(readImageFacts(session))).code, 'image.corrupt');
});

test('packages that cannot be downloaded are a server’s fault', async () => {
  const { session } = await setSource(shared, await resolve('c++'));
  await updateLists(session, { ...quiet, sources: [] });
  launchpad.fault(/\/pool\//, { kind: 'status', status: 404 });
  const error = await failure(installPackages(session, ['hello-one'], quiet));
  launchpad.fault(/\/pool\//, null);
  assert.is(error.code, 'upstream.status');
  assert.match(error.message, /hello-one.*404/);
});

test('a full file system is reported as such', async () => {
  await using chroot = await openChroot(system.tar);
  await setSource(chroot, await resolve('c++'));
  await updateLists(chroot.session(), { ...quiet, sources: [] });
  const session = chroot.session({ binds: [{ source: 'tmpfs:8m', target: '/opt' }] });
  assert.is((await failure(installPackages(session, ['big'], quiet))).code, 'image.full');
});

test('recommended packages are left out, and taken where asked for', async () => {
  const { session } = await setSource(shared, await resolve('c++'));
  await updateLists(session, { ...quiet, sources: [] });
  const found = await failure(installPackages(session, ['hello-two'], quiet));
  assert.match(found.message, /hello-two: Depends: jq/, 'without Debian’s own source, jq is not there');
  const plan = await installPackages(session, ['hello-one', 'hello-extra'], { ...quiet, recommends: true });
  assert.equal([...plan.install].sort(), ['hello-extra', 'hello-one']);
  assert.equal(await installPackages(session, ['hello-one'], quiet), { install: [], remove: [] });
  assert.equal(await installPackages(session, [], quiet), { install: [], remove: [] });
});

for (const [flaw, code, reason] of [
  ['unsigned', 'apt.signature', /signed/],
  ['wrong-signature', 'apt.signature', /ppa:project\/wrong-signature is not signed by the key/],
  ['wrong-hash', 'upstream.status', /out of step/],
  ['expired', 'apt.repository', /outside its time of validity/],
] as const) {
  test(`update fails for a PPA that is ${flaw}, and names it`, async () => {
    const source = await resolve(flaw);
    const { session } = await setSource(shared, source);
    const error = await failure(updateLists(session, { ...quiet, sources: [source] }));
    assert.is(error.code, code, error.message);
    assert.match(error.message, `ppa:project/${flaw}`);
    assert.match(error.message, reason);
  });
}

test('update fails for a PPA that has no such series, and names both', async () => {
  const source = await resolve('sound');
  const { session } = await setSource(shared, source, 'warty');
  const error = await failure(updateLists(session, { ...quiet, sources: [source] }));
  assert.is(error.code, 'ppa.series');
  assert.match(error.message, /ppa:project\/sound publishes nothing for "warty"/);
});

test('update fails for a source of the image that is not there any more, and names it', async () => {
  const { session } = await setSource(shared, null);
  await writeFile(join(shared.root, 'etc/apt/sources.list'), `deb ${launchpad.ppaUrl}/ubuntu warty main\n`);
  const error = await failure(updateLists(session, { ...quiet, sources: [] }));
  assert.is(error.code, 'apt.repository');
  assert.match(error.message, /own source http:\/\/127\.0\.0\.1:[0-9]+\/ubuntu for "warty" is not there/);
});

test('update fails as an upstream failure where a server is out of order or absent', async () => {
  const source = await resolve('sound');
  const { session } = await setSource(shared, source);
  for (const status of [500, 503]) {
    launchpad.fault(/\/dists\//, { kind: 'status', status });
    const error = await failure(updateLists(session, { ...quiet, sources: [source] }));
    launchpad.fault(/\/dists\//, null);
    assert.is(error.code, 'upstream.unreachable', error.message);
    assert.match(error.message, /ppa:project\/sound cannot be reached/);
  }
  const nobody = await failure(updateLists(session, { ...quiet, proxyUrl: 'http://127.0.0.1:9', sources: [source] }));
  assert.is(nobody.code, 'upstream.unreachable', nobody.message);
  await updateLists(session, { ...quiet, sources: [source] });
});

test('two PPAs whose files would have the same name are refused instead of one replacing the other', async () => {
  const source = await resolve('sound');
  const { session, facts } = await setSource(shared, null);
  const one = { ...source, ppa: { owner: 'a-ubuntu-b', name: 'c' }, url: 'http://example.com/1' };
  const two = { ...source, ppa: { owner: 'a', name: 'b-ubuntu-c' }, url: 'http://example.com/2' };
  assert.is((await failure(addSources(session, facts, [one, two], 'noble'))).code, 'apt.repository');
});

test('versions compare as dpkg compares them', async () => {
  const parts = [
    '1',
    '1.0',
    '1.0~rc1',
    '1.0+b',
    '1.0-1',
    '1.0-1ubuntu1',
    '1:0.9',
    '0:1.0',
    '1.10',
    '1.09',
    '1.0a',
    '1~',
  ];
  const script =
    'while read -r a b; do for o in lt eq gt; do dpkg --compare-versions "$a" $o "$b" && echo $o; done; done; true';
  const pairs = parts.flatMap((left) => parts.map((right) => [left, right] as const));
  const { stdout } = await exec('sh', ['-c', script], { input: pairs.map((pair) => `${pair.join(' ')}\n`).join('') });
  const ours = pairs.map(([left, right]) => ['lt', 'eq', 'gt'][Math.sign(compareVersions(left, right)) + 1]);
  assert.equal(stdout.trim().split('\n'), ours);
});

test('the sources of every generation are read and verified by a real apt as they are meant', async () => {
  const source = await resolve('c++');
  for (const [aptVersion, forms] of [
    ['1.0.1', ['.gpg', '.list']],
    ['1.6', ['.gpg', '.list']],
    ['2.4', ['.sources']],
  ] as const) {
    const { session, facts } = await setSource(shared, null);
    const old: ImageFacts = { ...facts, aptVersion };
    assert.equal(
      renderSources(source, old, system.series).map(({ path }) => extname(path)),
      forms,
    );
    await addSources(session, old, [source], system.series);
    await updateLists(session, { ...quiet, sources: [source] });
    assert.match((await failure(installPackages(session, ['hello-extra=0'], quiet))).message, 'there is no version 0');
    await rm(join(shared.root, 'etc/apt/trusted.gpg.d'), { recursive: true, force: true });
  }
});

test.run();
