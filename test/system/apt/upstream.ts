import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstallOptions } from '#lib/apt/install.ts';
import type { UpdateOptions } from '#lib/apt/update.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { type Fault, startFaultyServer } from '../../../lab/servers/faulty.ts';
import { failure } from '../../failure.ts';
import { variants } from '../../runner/long.ts';
import { temporaryFolder, testClient } from '../../unit/fetch/with-server.ts';
import { type AptHouse, never, quiet, type WhoseApt } from './house.ts';

/** One build as far as apt is concerned: a cache, a proxy and lists of its own, and the PPA as its only source. */
async function openBuild(house: AptHouse, who: WhoseApt, stallTimeoutMs = 1000) {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const client = opened.use(testClient({ stallTimeoutMs, retry: { attempts: 3, delayMs: 20 } }));
  const server = opened.use(await startFaultyServer(house.launchpad.ppaUrl));
  const cache = await createAptCache({ client, cacheDirectory: folder.path, cacheBytes: 100_000_000 });
  const proxy = opened.use(await startAptProxy({ client, cache, signal: never }));
  const found = await house.resolve('tools');
  const source = { ...found, url: found.url.replace(house.launchpad.ppaUrl, server.url) };
  await house.setSource(source);
  const workDirectory = join(folder.path, 'work');
  await mkdir(workDirectory);
  const { apt } = opened.use(await house.open(who, { workDirectory }));
  const options = {
    ...{ ...quiet, sources: [source], proxyUrl: proxy.url, proxyFailures: () => proxy.failures },
    retryPausesMs: [50, 100],
  };
  const kept = opened.move();
  return {
    server,
    update: (more: Partial<UpdateOptions> = {}) => apt.updateLists({ ...options, ...more }),
    install: (more: Partial<InstallOptions> = {}) => apt.installPackages(['hello-one'], { ...options, ...more }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

const installed = async ({ chroot }: AptHouse): Promise<boolean> => {
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
/** The image’s apt stands for both: more can befall it. */
const whose = variants<WhoseApt>('the image’s apt', 'the worker’s apt');
const isFor = (who: WhoseApt, what: string) => who === 'the image’s apt' || forBoth.includes(what);

/** Faults that last, with the codes and words of their errors. `place` is the part that fails. */
const lasting: readonly (readonly [what: string, place: 'list' | 'package', Fault, keyof typeof blame, RegExp])[] = [
  ['is silent', 'list', { kind: 'silent' }, 'upstream.unreachable', /did not answer in time/],
  ['drips', 'list', { kind: 'drip', everyMs: 50 }, 'upstream.unreachable', /bytes a second/],
  ['answers 403', 'list', { kind: 'status', status: 403 }, 'upstream.forbidden', /refuses access: .* answered 403/],
  ['answers 404', 'list', { kind: 'status', status: 404 }, 'ppa.series', /publishes nothing for/],
  [
    'answers 429 and asks for an hour',
    'list',
    { kind: 'status', status: 429, headers: { 'retry-after': '3600' } },
    'upstream.status',
    /left alone for 3600 seconds/,
  ],
  ['answers 500', 'list', { kind: 'status', status: 500 }, 'upstream.status', /answered 500/],
  ['answers 503', 'list', { kind: 'status', status: 503 }, 'upstream.status', /answered 503/],
  [
    'redirects in a loop',
    'list',
    { kind: 'redirect', to: '/loop/InRelease' },
    'upstream.unusable',
    /redirects more than 5 times/,
  ],
  [
    'redirects to a refused address',
    'list',
    { kind: 'redirect', to: 'http://169.254.169.254/latest/' },
    'egress.refused',
    /refused by the egress rules/,
  ],
  ['sends half as if it were all', 'list', { kind: 'short' }, 'upstream.status', /damaged, or a page/],
  ['cuts every connection', 'package', { kind: 'cut', afterBytes: 1000 }, 'upstream.unreachable', /hello-one/],
  [
    'has a package that is not what its lists say',
    'package',
    { kind: 'other' },
    'upstream.status',
    /hello-one.*(Hash Sum mismatch|unexpected size)/,
  ],
  ['has lost a package', 'package', { kind: 'status', status: 404 }, 'upstream.status', /hello-one.*404/],
  ['answers 503', 'package', { kind: 'status', status: 503 }, 'upstream.status', /hello-one.*503/],
  [
    'redirects in a loop',
    'package',
    { kind: 'redirect', to: '/loop/x.deb' },
    'upstream.unusable',
    /redirects more than 5 times/,
  ],
  [
    'redirects to a refused address',
    'package',
    { kind: 'redirect', to: 'http://[::ffff:a9fe:a9fe]/x.deb' },
    'egress.refused',
    /refused by the egress rules/,
  ],
];

/** Whose fault an error of this code is, and whether another attempt may help. */
const blame = {
  'upstream.unreachable': ['upstream', true],
  'upstream.forbidden': ['request', false],
  'ppa.series': ['request', false],
  'upstream.status': ['upstream', true],
  'upstream.unusable': ['upstream', false],
  'egress.refused': ['request', false],
} as const;

/** A PPA goes wrong while apt reads from it through the proxy: a short fault costs nothing, a lasting one is named. */
export function upstreamGoesWrong(test: Test<AptHouse>): void {
  for (const who of whose) {
    for (const [what, fault, times = 1] of passing) {
      if (!isFor(who, what)) continue;
      test(`${who}: a PPA that ${what}, and is well again, costs nothing`, async (house) => {
        await using build = await openBuild(house, who);
        build.server.fault(release, fault, times);
        build.server.fault(index, fault, times);
        await build.update();
        build.server.fault(archive, fault, times);
        await build.install();
        assert.ok(await installed(house));
      });
    }
  }

  for (const who of whose) {
    for (const [what, place, fault, code, words] of lasting) {
      if (place === 'list' && !isFor(who, what)) continue;
      test(`${who}: a PPA that ${what} (${place}) ends it as ${code}, and is named`, async (house) => {
        await using build = await openBuild(house, who, 300);
        if (place === 'package') await build.update();
        build.server.fault(place === 'package' ? archive : release, fault);
        if (place === 'list') build.server.fault(/\/Release( |$)/, fault);
        const error = await failure(place === 'package' ? build.install() : build.update());
        assert.equal([error.code, error.fault, error.retryable], [code, ...blame[code]], error.message);
        assert.match(error.message, words);
        assert.match(error.message, 'ppa:project/tools');
        assert.not.ok(await installed(house));
      });
    }
  }

  test('lists that change between InRelease and Packages are fetched again until they fit', async (house) => {
    await using build = await openBuild(house, 'the image’s apt');
    // The index of before the change: by its name, as this PPA has no by-hash.
    build.server.fault(index, { kind: 'other' });
    let pauses = 0;
    await build.update({
      retryPausesMs: [0, 0],
      onLog(line) {
        if (!/trying again in 0 seconds/.test(line)) return;
        pauses += 1;
        assert.match(line, 'ppa:project/tools is being changed or out of step with itself');
        if (pauses === 2) build.server.mend();
      },
    });
    assert.is(pauses, 2);
  });

  test('a mirror of the image’s own sources is named by its URL', async (house) => {
    await using build = await openBuild(house, 'the image’s apt');
    build.server.fault(release, { kind: 'status', status: 503 });
    const error = await failure(build.update({ sources: [] }));
    assert.match(
      error.message,
      `the image's own source ${build.server.url}/project/tools/ubuntu for "${house.series}"`,
    );
  });

  test('a silent server is waited for once, not once for every file', async (house) => {
    await using build = await openBuild(house, 'the image’s apt', 2000);
    await writeFile(
      join(house.chroot.root, 'etc/apt/sources.list'),
      ['a', 'b', 'c', 'd'].map((suite) => `deb ${build.server.url}/debian ${suite} main\n`).join(''),
    );
    build.server.fault(/debian/, { kind: 'silent' });
    const before = build.server.requests.length;
    const error = await failure(build.update());
    assert.is(error.code, 'upstream.unreachable', error.message);
    const asked = build.server.requests.slice(before).filter((request) => request.includes('/debian/'));
    assert.ok(asked.length <= 12, asked.join('\n'));
  });

  test('a cancelled build does not wait for a mirror', async (house) => {
    const stop = new AbortController();
    await using build = await openBuild(house, 'the image’s apt');
    build.server.fault(index, { kind: 'other' });
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
}
