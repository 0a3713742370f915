import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Apt } from '#lib/apt/apt.ts';
import { openAptCaches } from '#lib/apt/caches.ts';
import { readImageFacts } from '#lib/apt/facts.ts';
import { aptInside } from '#lib/apt/inside/apt-inside.ts';
import type { InstallOptions } from '#lib/apt/install.ts';
import { resolvePpa } from '#lib/apt/launchpad.ts';
import { openAptOutside } from '#lib/apt/outside/apt-outside.ts';
import { addSources } from '#lib/apt/sources.ts';
import type { UpdateOptions } from '#lib/apt/update.ts';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { type Fault, type FaultyServer, startFaultyServer } from '../../lab/servers/faulty.ts';
import { type Launchpad, startLaunchpad } from '../../lab/servers/launchpad.ts';
import { failure } from '../failure.ts';
import { temporaryFolder, testClient } from '../unit/fetch/with-server.ts';
import { type Chroot, minimalSystem, openChroot } from './apt-chroot.ts';
import { sessionWithoutNetwork } from './apt-outside-session.ts';

/**
 * What becomes of a build when a PPA goes wrong under apt's hands: real apt through the proxy, once as the image's own
 * and once as the worker's that stands in for it.
 */

const signal = new AbortController().signal;
let system: { tar: string; series: string };
let launchpad: Launchpad;
let server: FaultyServer;
let chroot: Chroot;

test.before(async () => {
  system = await minimalSystem();
  chroot = await openChroot(system.tar);
  launchpad = await startLaunchpad({
    architectures: ['amd64'],
    ppas: [
      {
        owner: 'project',
        name: 'tools',
        series: [system.series],
        key: 'ed25519',
        packages: [{ name: 'hello-one', files: { '/opt/hello': Buffer.alloc(300_000, 'hello') } }],
      },
    ],
  });
  server = await startFaultyServer(launchpad.ppaUrl);
});
test.after(async () => {
  await chroot[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await launchpad[Symbol.asyncDispose]();
});
test.before.each(() => server.mend());

type WhoseApt = 'the image’s apt' | 'the worker’s apt';
const both: readonly WhoseApt[] = ['the image’s apt', 'the worker’s apt'];

/** One build as far as apt is concerned: a cache, a proxy and lists of its own, and the PPA as its only source. */
async function openBuild(who: WhoseApt, stallTimeoutMs = 1000) {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const client = opened.use(testClient({ stallTimeoutMs, retry: { attempts: 3, delayMs: 20 } }));
  const cache = await createAptCache({ client, cacheDirectory: folder.path, cacheBytes: 100_000_000 });
  const proxy = opened.use(await startAptProxy({ client, cache, signal }));
  const source = await resolvePpa(
    { owner: 'project', name: 'tools' },
    {
      launchpadApiUrl: launchpad.apiUrl,
      ppaUrl: launchpad.ppaUrl,
      series: system.series,
      client,
      workDirectory: folder.path,
      unprivilegedIds: loadConfig({}).tools.unprivilegedIds,
      signal,
    },
  ).then((found) => ({ ...found, url: found.url.replace(launchpad.ppaUrl, server.url) }));
  const work = join(folder.path, 'work');
  await mkdir(work);
  const caches = opened.use(
    await openAptCaches({
      cacheDirectory: folder.path,
      cacheBytes: 100_000_000,
      baseImageSha256: 'a'.repeat(64),
      workDirectory: work,
      signal,
    }),
  );
  for (const name of ['sources.list', 'sources.list.d']) {
    await rm(join(chroot.root, 'etc/apt', name), { recursive: true, force: true });
  }
  await mkdir(join(chroot.root, 'etc/apt/sources.list.d'));
  await exec('chroot', [chroot.root, 'dpkg', '--purge', 'hello-one']);
  const log: string[] = [];
  const options: UpdateOptions & InstallOptions = {
    sources: [source],
    proxyUrl: proxy.url,
    proxyFailures: () => proxy.failures,
    recommends: false,
    signal,
    retryPausesMs: [50, 100],
    onLog: (line) => log.push(line),
    onProgress: () => {},
  };
  const session = who === 'the image’s apt' ? chroot.session({ binds: caches.binds }) : sessionWithoutNetwork(chroot);
  const facts = await readImageFacts(session);
  await addSources(session, facts, [source], system.series);
  const apt: Apt = opened.use(
    who === 'the image’s apt'
      ? aptInside(session)
      : await openAptOutside(session, {
          ...{ facts, binds: caches.binds, workDirectory: work },
          ...{ unprivilegedIds: loadConfig({}).tools.unprivilegedIds, signal },
        }),
  );
  const kept = opened.move();
  return {
    log,
    proxy,
    update: (more: Partial<UpdateOptions> = {}) => apt.updateLists({ ...options, ...more }),
    install: (more: Partial<InstallOptions> = {}) => apt.installPackages(['hello-one'], { ...options, ...more }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

const installed = async (): Promise<boolean> => {
  const { stdout } = await exec('chroot', [chroot.root, 'dpkg-query', '--show']);
  return stdout.includes('hello-one');
};

const release = /\/InRelease( |$)/;
const index = /\/Packages/;
const archive = /\.deb( |$)/;

/** Faults that happen once, or as often as is stated, to a list, then to the package. The build has to succeed. */
const passing: readonly (readonly [string, Fault, times?: number])[] = [
  ['is silent', { kind: 'silent' }],
  ['stalls', { kind: 'stall', afterBytes: 300 }],
  ['cuts the connection', { kind: 'cut', afterBytes: 300 }],
  ['sends half as if it were all', { kind: 'short' }],
  ['sends more', { kind: 'long' }],
  ['sends something else', { kind: 'other' }],
  ['answers 429', { kind: 'status', status: 429, headers: { 'retry-after': '1' } }],
  ['answers 500', { kind: 'status', status: 500 }],
  ['answers 503', { kind: 'status', status: 503, headers: { 'retry-after': new Date().toUTCString() } }, 2],
];

/** Both apts meet the same proxy: of the faults that it deals with alone, one of each kind is enough for the second. */
const forBoth = ['is silent', 'cuts the connection', 'sends something else', 'answers 503', 'redirects in a loop'];
const isFor = (who: WhoseApt, what: string) => who === 'the image’s apt' || forBoth.includes(what);

for (const who of both) {
  for (const [what, fault, times = 1] of passing) {
    if (!isFor(who, what)) continue;
    test(`${who}: a PPA that ${what}, and is well again, costs nothing`, async () => {
      await using build = await openBuild(who);
      server.fault(release, fault, times);
      server.fault(index, fault, times);
      await build.update();
      server.fault(archive, fault, times);
      await build.install();
      assert.ok(await installed());
    });
  }
}

/** Faults that last, with their errors. `place` is the part that fails. */
const lasting: readonly (readonly [
  what: string,
  place: 'list' | 'package',
  fault: Fault,
  expected: { readonly code: string; readonly fault: string; readonly retryable: boolean; readonly message: RegExp },
])[] = [
  [
    'is silent',
    'list',
    { kind: 'silent' },
    { code: 'upstream.unreachable', fault: 'upstream', retryable: true, message: /did not answer in time/ },
  ],
  [
    'drips',
    'list',
    { kind: 'drip', everyMs: 50 },
    { code: 'upstream.unreachable', fault: 'upstream', retryable: true, message: /bytes a second/ },
  ],
  [
    'answers 403',
    'list',
    { kind: 'status', status: 403 },
    { code: 'upstream.forbidden', fault: 'request', retryable: false, message: /refuses access: .* answered 403/ },
  ],
  [
    'answers 404',
    'list',
    { kind: 'status', status: 404 },
    { code: 'ppa.series', fault: 'request', retryable: false, message: /publishes nothing for/ },
  ],
  [
    'answers 429 and asks for an hour',
    'list',
    { kind: 'status', status: 429, headers: { 'retry-after': '3600' } },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /left alone for 3600 seconds/ },
  ],
  [
    'answers 500',
    'list',
    { kind: 'status', status: 500 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /answered 500/ },
  ],
  [
    'answers 503',
    'list',
    { kind: 'status', status: 503 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /answered 503/ },
  ],
  [
    'redirects in a loop',
    'list',
    { kind: 'redirect', to: '/loop/InRelease' },
    { code: 'upstream.unusable', fault: 'upstream', retryable: false, message: /redirects more than 5 times/ },
  ],
  [
    'redirects to a refused address',
    'list',
    { kind: 'redirect', to: 'http://169.254.169.254/latest/' },
    { code: 'egress.refused', fault: 'request', retryable: false, message: /refused by the egress rules/ },
  ],
  [
    'sends half as if it were all',
    'list',
    { kind: 'short' },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /damaged, or a page/ },
  ],
  [
    'cuts every connection',
    'package',
    { kind: 'cut', afterBytes: 1000 },
    { code: 'upstream.unreachable', fault: 'upstream', retryable: true, message: /hello-one/ },
  ],
  [
    'has a package that is not what its lists say',
    'package',
    { kind: 'other' },
    {
      code: 'upstream.status',
      fault: 'upstream',
      retryable: true,
      message: /hello-one.*(Hash Sum mismatch|unexpected size)/,
    },
  ],
  [
    'has lost a package',
    'package',
    { kind: 'status', status: 404 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /hello-one.*404/ },
  ],
  [
    'answers 503',
    'package',
    { kind: 'status', status: 503 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /hello-one.*503/ },
  ],
  [
    'redirects in a loop',
    'package',
    { kind: 'redirect', to: '/loop/x.deb' },
    { code: 'upstream.unusable', fault: 'upstream', retryable: false, message: /redirects more than 5 times/ },
  ],
  [
    'redirects to a refused address',
    'package',
    { kind: 'redirect', to: 'http://[::ffff:a9fe:a9fe]/x.deb' },
    { code: 'egress.refused', fault: 'request', retryable: false, message: /refused by the egress rules/ },
  ],
];

for (const who of both) {
  for (const [what, place, fault, expected] of lasting) {
    if (place === 'list' && !isFor(who, what)) continue;
    test(`${who}: a PPA that ${what} (${place}) ends it as ${expected.code}, and is named`, async () => {
      await using build = await openBuild(who, 300);
      if (place === 'package') await build.update();
      server.fault(place === 'package' ? archive : release, fault);
      if (place === 'list') server.fault(/\/Release( |$)/, fault);
      const error = await failure(place === 'package' ? build.install() : build.update());
      const { code, retryable, message } = error;
      assert.equal(
        { code, fault: error.fault, retryable },
        { code: expected.code, fault: expected.fault, retryable: expected.retryable },
        message,
      );
      assert.match(message, expected.message);
      assert.match(message, 'ppa:project/tools');
      assert.not.ok(await installed());
    });
  }
}

test('lists that change between InRelease and Packages are fetched again until they fit', async () => {
  await using build = await openBuild('the image’s apt');
  // The index of before the change: by its name, as this PPA has no by-hash.
  server.fault(index, { kind: 'other' });
  let pauses = 0;
  await build.update({
    retryPausesMs: [0, 0],
    onLog(line) {
      if (!/trying again in 0 seconds/.test(line)) return;
      pauses += 1;
      assert.match(line, 'ppa:project/tools is being changed or out of step with itself');
      if (pauses === 2) server.mend();
    },
  });
  assert.is(pauses, 2);
});

test('a mirror of the image’s own sources is named by its URL', async () => {
  await using build = await openBuild('the image’s apt');
  server.fault(release, { kind: 'status', status: 503 });
  const error = await failure(build.update({ sources: [] }));
  assert.match(error.message, `the image's own source ${server.url}/project/tools/ubuntu for "${system.series}"`);
});

test('a silent server is waited for once, not once for every file', async () => {
  await using build = await openBuild('the image’s apt', 2000);
  await writeFile(
    join(chroot.root, 'etc/apt/sources.list'),
    ['a', 'b', 'c', 'd'].map((suite) => `deb ${server.url}/debian ${suite} main\n`).join(''),
  );
  server.fault(/debian/, { kind: 'silent' });
  const before = server.requests.length;
  const error = await failure(build.update());
  assert.is(error.code, 'upstream.unreachable', error.message);
  const asked = server.requests.slice(before).filter((request) => request.includes('/debian/'));
  assert.ok(asked.length <= 12, asked.join('\n'));
});

test('a cancelled build does not wait for a mirror', async () => {
  const stop = new AbortController();
  await using build = await openBuild('the image’s apt');
  server.fault(index, { kind: 'other' });
  const reason = new ImageBuilderError('build.cancelled', 'cancelled');
  const updating = build.update({
    retryPausesMs: [3_600_000],
    signal: stop.signal,
    onLog: (line) => {
      if (line.includes('trying again')) stop.abort(reason);
    },
  });
  assert.is(await failure(updating), reason);
});

test.run();
