import { once } from 'node:events';
import {
  access,
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  writeFile,
} from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Apt } from '#lib/apt/apt.ts';
import { type AptCaches, openAptCaches } from '#lib/apt/caches.ts';
import { readImageFacts } from '#lib/apt/facts.ts';
import { installPackages } from '#lib/apt/install.ts';
import { type PpaSource, resolvePpa } from '#lib/apt/launchpad.ts';
import { openAptOutside } from '#lib/apt/outside/apt-outside.ts';
import { comparePackages, readPackages } from '#lib/apt/packages.ts';
import { addSources } from '#lib/apt/sources.ts';
import { type AptProgress, updateLists } from '#lib/apt/update.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { failingPackage, type Launchpad, type PpaRecipe, startLaunchpad } from '../../lab/servers/launchpad.ts';
import { failure } from '../failure.ts';
import { type Chroot, minimalSystem, openChroot } from './apt-chroot.ts';
import { sessionWithoutNetwork } from './apt-outside-session.ts';
import { asNobody, nobody } from './other-user.ts';
import { assertUnprivilegedStatus, unprivilegedIds } from './unprivileged.ts';

/**
 * The worker's real apt in the place of a real system's: real PPAs, the machine's own mirror, and scripts that run
 * without any network. The result is compared with that of the system's own apt with a network.
 */

const client = createHttpClient({
  egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
  connectTimeoutMs: 10_000,
  stallTimeoutMs: 10_000,
  userAgent: 'test',
});
const signal = new AbortController().signal;
let system: { tar: string; series: string };
let launchpad: Launchpad;
/** For all tests that leave its packages as they are. */
let shared: Chroot;

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
        key: 'ed25519',
        packages: [
          { name: 'hello-one', version: '1:1.0+b~1-1', files: { '/usr/bin/hello-one': '#!/bin/sh\necho one\n' } },
          { name: 'hello-one', version: '1:1.1-1' },
          {
            name: 'hello-two',
            fields: { Depends: 'hello-one (>= 1:1.0), jq', Recommends: 'hello-extra' },
            files: { '/etc/hello.conf': 'new\n' },
            conffiles: ['/etc/hello.conf'],
          },
          { name: 'hello-extra', fields: { Suggests: 'hello-suggested' } },
          { name: 'hello-suggested' },
          { name: 'hello-meta', fields: { Depends: 'hello-member', Section: 'metapackages' } },
          { name: 'hello-member' },
          { name: 'early', files: { '/usr/bin/early': '#!/bin/sh\n' }, scripts: { postinst: 'touch /etc/early' } },
          {
            name: 'hates-extra',
            fields: { Conflicts: 'hello-extra', 'Pre-Depends': 'early' },
            scripts: { preinst: 'test -e /etc/early' },
          },
          { name: 'foreign', architecture: 'i386', fields: { 'Multi-Arch': 'same' } },
          { name: 'needs-nothing-there', fields: { Depends: 'not-there (>= 2)' } },
          {
            name: 'calls-home',
            scripts: { postinst: "bash -c 'exec 4<>/dev/tcp/192.0.2.1/80'" },
          },
          failingPackage('hello-failing', 'the moon is in the wrong phase'),
          { name: 'no-package', noise: '!<arch>\nnot a package' },
        ],
      },
      plain('sound'),
      plain('unsigned', 'unsigned'),
      plain('wrong-signature', 'wrong-signature'),
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
      unprivilegedIds,
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

const openCaches = (chroot: Chroot): Promise<AptCaches> =>
  openAptCaches({
    cacheDirectory: join(chroot.directory, 'cache'),
    cacheBytes: 1_000_000_000,
    baseImageSha256: 'a'.repeat(64),
    workDirectory: chroot.directory,
    signal,
  });

async function openOutside(chroot: Chroot, caches: AptCaches, session: GuestSession): Promise<Apt> {
  const facts = await readImageFacts(session);
  return await openAptOutside(session, {
    ...{ facts, binds: caches.binds, workDirectory: chroot.directory },
    ...{ unprivilegedIds, signal },
  });
}

/** Makes a PPA, or nothing, the only source of a system. */
async function setSource(chroot: Chroot, source: PpaSource | null): Promise<void> {
  await rm(join(chroot.root, 'etc/apt/sources.list'), { force: true });
  await rm(join(chroot.root, 'etc/apt/sources.list.d'), { recursive: true, force: true });
  await mkdir(join(chroot.root, 'etc/apt/sources.list.d'));
  const session = chroot.session();
  if (source !== null) await addSources(session, await readImageFacts(session), [source], system.series);
}

/** Every file that is neither a log nor a cache: type, mode, owner, size and target. */
async function tree({ root }: Chroot): Promise<string[]> {
  const { stdout } = await exec('find', [
    ...[
      root,
      '(',
      '-path',
      '*/var/log',
      '-o',
      '-path',
      '*/var/cache',
      '-o',
      '-path',
      '*/var/lib/apt/lists',
      '-o',
      '-path',
      '*/tmp',
      ')',
    ],
    ...['-prune', '-o', '!', '-name', '*-old', '!', '-type', 'd', '-printf', '%P %y %m %U:%G %s %l\n'],
  ]);
  return stdout.trim().split('\n').sort();
}

const marks = async ({ root }: Chroot) =>
  (await readFile(join(root, 'var/lib/apt/extended_states'), 'utf8').catch(() => '')).split('\n\n').sort();

test('without a network a system becomes what its own apt makes of it with one', async () => {
  await using online = await openChroot(system.tar);
  await using outside = await openChroot(system.tar);
  const source = await resolve('c++');
  const configuration = `APT::Install-Recommends "true";\nAPT::Default-Release "${system.series}";\n`;
  for (const chroot of [online, outside]) {
    await writeFile(join(chroot.root, 'etc/apt/apt.conf.d/99test'), configuration);
    await writeFile(join(chroot.root, 'etc/hello.conf'), 'old\n');
  }
  for (const { wanted, recommends = false, pin = '', installed, removed = [] } of [
    {
      wanted: ['hello-two', 'hello-one=1:1.0+b~1-1', `jq/${system.series}`],
      installed: ['hello-one', 'hello-two', 'jq', 'libjq1', 'libonig5'],
    },
    { wanted: ['hello-one'], pin: 'Package: hello-*\nPin: version 1:1.0*\nPin-Priority: 1001\n', installed: [] },
    { wanted: ['hello-two', 'hello-one'], recommends: true, installed: ['hello-one'] },
    { wanted: ['hello-extra', 'foreign:i386'], installed: ['foreign', 'hello-extra'] },
    { wanted: ['hello-meta'], installed: ['hello-member', 'hello-meta'] },
    { wanted: ['hates-extra'], installed: ['early', 'hates-extra'], removed: ['hello-extra'] },
    // Only apt's note that it was asked for changes.
    { wanted: ['libonig5'], installed: [] },
  ]) {
    const outcomes = [];
    for (const chroot of [online, outside]) {
      const session = chroot === online ? online.session() : sessionWithoutNetwork(outside);
      const facts = await readImageFacts(session);
      if (wanted.includes('hello-two')) await addSources(session, facts, [source], system.series);
      else await setSource(chroot, source);
      if (wanted.includes('foreign:i386')) await exec('chroot', [chroot.root, 'dpkg', '--add-architecture', 'i386']);
      await writeFile(join(chroot.root, 'etc/apt/preferences.d/test'), pin);
      const progress: AptProgress[] = [];
      const log: string[] = [];
      const options = {
        ...quiet,
        onLog: (line: string) => log.push(line),
        recommends,
        sources: [source],
        onProgress: (step: AptProgress) => progress.push(step),
      };
      if (chroot === online) {
        await updateLists(session, options);
        progress.length = 0;
        await installPackages(session, wanted, options);
      } else {
        await using caches = await openCaches(chroot);
        await using apt = await openOutside(chroot, caches, session);
        await apt.updateLists(options);
        await caches.publish([source]);
        progress.length = 0;
        const { plan } = await apt.installPackages(wanted, options);
        assert.equal([...plan.install].map((name) => name.replace(/:.*/, '')).sort(), installed);
        assert.equal(plan.remove, removed);
        const total = 2 * installed.length;
        assert.ok(progress.every((step) => step.total === total && step.current <= total));
        assert.equal(
          progress,
          [...progress].sort((a, b) => a.current - b.current),
          'progress goes back',
        );
        // Fetching them from the worker's folder would hash them once more.
        assert.equal(
          log.filter((line) => /^Get:\d+ file:/.test(line)),
          [],
        );
      }
      const packages = comparePackages(facts.packages, await readPackages(session), facts.architecture);
      outcomes.push({ packages, marks: await marks(chroot), tree: await tree(chroot) });
    }
    const [withNetwork, without] = outcomes;
    assert.equal(without?.packages, withNetwork?.packages, wanted.join(' '));
    assert.equal(without?.marks, withNetwork?.marks, wanted.join(' '));
    const differing = (left: readonly string[] = [], right: readonly string[] = []) =>
      left.filter((line) => !right.includes(line));
    assert.equal(differing(without?.tree, withNetwork?.tree), differing(withNetwork?.tree, without?.tree));
  }
  assert.is(await readFile(join(outside.root, 'etc/hello.conf'), 'utf8'), 'old\n', 'a changed conffile is not kept');
  assert.equal(await readdir(join(outside.root, 'var/cache/apt')), ['archives']);
  assert.equal(
    await readdir(join(outside.root, 'var/cache/apt/archives')),
    await readdir(join(shared.root, 'var/cache/apt/archives')),
  );
  assert.equal(await readdir(join(outside.root, 'run')), await readdir(join(shared.root, 'run')));
  const left = (await readdir(outside.directory)).sort();
  assert.equal(left, ['cache', 'root'], 'something is left on the worker');
});

test('one error names every package that cannot be had and why', async () => {
  await setSource(shared, await resolve('c++'));
  await using caches = await openCaches(shared);
  await using apt = await openOutside(shared, caches, sessionWithoutNetwork(shared));
  await apt.updateLists({ ...quiet, sources: [] });
  const error = await failure(
    apt.installPackages(['missing-a', 'hello-one', 'hello-extra=9', 'needs-nothing-there'], quiet),
  );
  assert.is(error.code, 'apt.package');
  assert.equal(
    error.faults.map(({ path }) => path),
    [0, 2, 3].map((index) => `$.package_list[${index}]`),
  );
  assert.match(error.message, /missing-a: no repository/);
  assert.match(error.message, /needs-nothing-there: Depends: not-there \(>= 2\)/);
});

for (const flaw of ['unsigned', 'wrong-signature'] as const) {
  test(`update fails for a PPA that is ${flaw}, and names it`, async () => {
    const source = await resolve(flaw);
    await setSource(shared, source);
    await using caches = await openCaches(shared);
    await using apt = await openOutside(shared, caches, sessionWithoutNetwork(shared));
    const error = await failure(apt.updateLists({ ...quiet, sources: [source] }));
    assert.is(error.code, 'apt.signature', error.message);
    assert.match(error.message, `ppa:project/${flaw}`);
    assert.not.match(error.message, shared.directory);
  });
}

test('only the image’s own keys count: without the one that a source names, update fails', async () => {
  const keyring = '/etc/apt/keyrings/test.gpg';
  const source = await resolve('sound');
  const path = join(shared.root, keyring);
  const line = (options: string) => `deb [${options}] ${source.url} ${system.series} main\n`;
  await setSource(shared, null);
  await using caches = await openCaches(shared);
  for (const [options, key, code] of [
    [`signed-by=${keyring}`, source.key.binary, null],
    [`signed-by=${keyring}`, source.key.armored, null],
    [`signed-by=${keyring}`, null, 'apt.signature'],
    [`signed-by=${keyring}`, (await resolve('wrong-signature')).key.binary, 'apt.signature'],
    ['trusted=yes', source.key.binary, 'apt.signature'],
  ] as const) {
    await rm(path, { force: true });
    if (key !== null) await writeFile(path, key);
    await writeFile(join(shared.root, 'etc/apt/sources.list'), line(options));
    await using apt = await openOutside(shared, caches, sessionWithoutNetwork(shared));
    const update = apt.updateLists({ ...quiet, sources: [source] });
    if (code === null) await update;
    else assert.is((await failure(update)).code, code, options);
  }
  await rm(path);
});

test('a TLS server is judged by the image’s certificates, not by the worker’s', async () => {
  await using chroot = await openChroot(system.tar);
  const source = await resolve('sound');
  const key = join(chroot.directory, 'key.pem');
  const certificate = join(chroot.directory, 'certificate.pem');
  await exec('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1'],
    ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate],
  ]);
  const server = createServer({ key: await readFile(key), cert: await readFile(certificate) }, (request, response) => {
    get(`${launchpad.ppaUrl}${request.url}`, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    const url = source.url.replace(launchpad.ppaUrl, `https://127.0.0.1:${port}`);
    await setSource(chroot, null);
    await writeFile(join(chroot.root, 'etc/apt/trusted.gpg.d/test.asc'), source.key.armored);
    await writeFile(join(chroot.root, 'etc/apt/sources.list'), `deb ${url} ${system.series} main\n`);
    await using caches = await openCaches(chroot);
    const update = async () => {
      await using apt = await openOutside(chroot, caches, sessionWithoutNetwork(chroot));
      await apt.updateLists({ ...quiet, sources: [] });
    };
    const refused = await failure(update());
    assert.is(refused.code, 'upstream.unreachable');
    assert.match(refused.message, /certificate/i);
    await appendFile(join(chroot.root, 'etc/ssl/certs/ca-certificates.crt'), await readFile(certificate));
    await update();
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test('a source that lies in the image, or would be a file of the worker, is refused', async () => {
  for (const text of [
    'deb [trusted=yes] file:/etc/shadow ./\n',
    'deb copy:/etc ./\n',
    'deb mirror+file:/etc/passwd stable main\n',
  ]) {
    await setSource(shared, null);
    await writeFile(join(shared.root, 'etc/apt/sources.list'), text);
    await using caches = await openCaches(shared);
    const error = await failure(openOutside(shared, caches, sessionWithoutNetwork(shared)));
    assert.is(error.code, 'apt.repository');
    assert.match(error.message, 'only http and https');
  }
});

test('no command of an image’s apt.conf runs on the worker, and none of its files are taken', async () => {
  const touched = await mkdtemp(join(tmpdir(), 'apt-outside-touched-'));
  await chmod(touched, 0o777);
  await using chroot = await openChroot(system.tar);
  await setSource(chroot, await resolve('sound'));
  const hooks = [
    'APT::Update::Pre-Invoke',
    'APT::Update::Post-Invoke',
    'APT::Update::Post-Invoke-Success',
    'DPkg::Pre-Invoke',
    'DPkg::Post-Invoke',
    'DPkg::Pre-Install-Pkgs',
  ];
  const conf = [
    ...hooks.map((hook, index) => `${hook} { "touch ${touched}/${index} || true"; };`),
    `Acquire::http::Proxy-Auto-Detect "${touched}/detect";`,
    `Acquire::http::Proxy "http://127.0.0.1:1";`,
    'APT::Get::AllowUnauthenticated "true";',
  ];
  await writeFile(join(chroot.root, 'etc/apt/apt.conf.d/99hostile'), `${conf.join('\n')}\n`);
  const session = sessionWithoutNetwork(chroot);
  await using caches = await openCaches(chroot);
  await using apt = await openOutside(chroot, caches, session);
  const cache = await createAptCache({ client, cacheDirectory: join(chroot.directory, 'cache'), cacheBytes: 1e9 });
  await using proxy = await startAptProxy({ client, cache, signal });
  const options = { ...quiet, proxyUrl: proxy.url };
  await apt.updateLists({ ...options, sources: [] });
  await apt.installPackages(['hello-flawed'], options);
  assert.ok(proxy.statistics.misses > 0);
  assert.ok((await readPackages(session)).some(({ name }) => name === 'hello-flawed'));
  assert.equal(await readdir(touched), []);
  await rm(touched, { recursive: true });
});

test('a package whose script needs the network is named, with the setting that gives it one', async () => {
  await using chroot = await openChroot(system.tar);
  await setSource(chroot, await resolve('c++'));
  await using caches = await openCaches(chroot);
  await using apt = await openOutside(chroot, caches, sessionWithoutNetwork(chroot));
  await apt.updateLists({ ...quiet, sources: [] });
  const log: string[] = [];
  const error = await failure(
    apt.installPackages(['hello-one', 'calls-home'], { ...quiet, onLog: (line) => log.push(line) }),
  );
  assert.is(error.code, 'apt.install');
  assert.match(error.message, /calls-home: .*post-installation script/);
  assert.match(error.message, /The scripts of calls-home want the network.*IMAGEBUILDER_VM_NETWORK=true/);
  assert.ok(error.logTail.some((line) => /Network is unreachable/.test(line)));
  assert.ok(log.some((line) => line.startsWith('Setting up hello-one')));
  assert.not.ok(log.some((line) => /APT had planned/.test(line)));
});

test('a script that fails for another reason is not said to need the network', async () => {
  await using chroot = await openChroot(system.tar);
  await setSource(chroot, await resolve('c++'));
  await using caches = await openCaches(chroot);
  await using apt = await openOutside(chroot, caches, sessionWithoutNetwork(chroot));
  await apt.updateLists({ ...quiet, sources: [] });
  const error = await failure(apt.installPackages(['hello-failing'], quiet));
  assert.is(error.code, 'apt.install');
  assert.match(error.message, 'hello-failing');
  assert.not.match(error.message, 'network');
});

test('the worker hands packages in without looking into them: it is the image’s dpkg that refuses one', async () => {
  await using chroot = await openChroot(system.tar);
  await setSource(chroot, await resolve('c++'));
  const session = sessionWithoutNetwork(chroot);
  await using caches = await openCaches(chroot);
  await using apt = await openOutside(chroot, caches, session);
  await apt.updateLists({ ...quiet, sources: [] });
  const error = await failure(apt.installPackages(['no-package'], quiet));
  assert.is(error.code, 'apt.install', error.message);
  const told = [error.message, ...error.logTail].join('\n');
  assert.match(told, /no-package/);
  assert.match(told, /dpkg: error processing archive \/run\/imagebuilder-packages/);
});

/** Processes that run in a folder, by the name of their program. */
async function processesIn(directory: string): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const id of await readdir('/proc')) {
    const place = await readlink(`/proc/${id}/cwd`).catch(() => '');
    const name = await readFile(`/proc/${id}/comm`, 'utf8').catch(() => '');
    if (place.startsWith(directory) && name !== '') found.set(name.trim(), Number(id));
  }
  return found;
}

test('the worker’s apt is a user without rights where the worker is root, and nothing of it is left', async () => {
  await setSource(shared, await resolve('c++'));
  const session = sessionWithoutNetwork(shared);
  await using caches = await openCaches(shared);
  const cancel = new AbortController();
  const facts = await readImageFacts(session);
  launchpad.fault(/InRelease$/, { kind: 'stall' });
  try {
    await using apt = await openAptOutside(session, {
      ...{ facts, binds: caches.binds, workDirectory: shared.directory },
      ...{ unprivilegedIds, signal: cancel.signal },
    });
    const update = failure(apt.updateLists({ ...quiet, signal: cancel.signal }));
    // A method of apt is started twice: the first, which only says what it can do, may end while it is looked at.
    const statusesOf = async () => {
      const running = await processesIn(shared.directory);
      const read = (name: string) => readFile(`/proc/${running.get(name)}/status`, 'utf8').catch(() => '');
      return await Promise.all(['apt-get', 'http'].map(read));
    };
    let statuses = await statusesOf();
    while (statuses.includes('')) statuses = await statusesOf();
    const users = statuses.map(assertUnprivilegedStatus);
    assert.is(new Set(users).size, 1);
    cancel.abort(new ImageBuilderError('build.cancelled', 'enough'));
    assert.is((await update).message, 'enough');
  } finally {
    launchpad.fault(/InRelease$/, null);
  }
  assert.equal(await processesIn(shared.directory), new Map());
});

test('packages that cannot be downloaded are a server’s fault, and nothing is installed', async () => {
  await setSource(shared, await resolve('c++'));
  const session = sessionWithoutNetwork(shared);
  await using caches = await openCaches(shared);
  await using apt = await openOutside(shared, caches, session);
  await apt.updateLists({ ...quiet, sources: [] });
  const before = await readPackages(session);
  launchpad.fault(/\/pool\//, { kind: 'status', status: 404 });
  const error = await failure(apt.installPackages(['hello-one'], quiet));
  launchpad.fault(/\/pool\//, null);
  assert.is(error.code, 'upstream.status');
  assert.match(error.message, /hello-one.*404/);
  assert.equal(await readPackages(session), before);
});

test('the worker needs no privileges', async () => {
  await setSource(shared, await resolve('c++'));
  const directory = await mkdtemp(join(tmpdir(), 'apt-outside-unprivileged-'));
  await chmod(directory, 0o777);
  // The image's output is recorded here, where root is needed for the chroot, and played back to an ordinary user.
  const session = sessionWithoutNetwork(shared);
  const facts = await readImageFacts(session);
  const told: Record<string, string[]> = {};
  const recording: GuestSession = {
    ...session,
    run: (script) =>
      session.run({
        ...script,
        onLine: (line, stream) => {
          told[script.name] = [...(told[script.name] ?? []), line];
          script.onLine?.(line, stream);
        },
      }),
  };
  await using caches = await openCaches(shared);
  await using _ = await openAptOutside(recording, {
    facts,
    binds: caches.binds,
    workDirectory: shared.directory,
    unprivilegedIds,
    signal,
  });
  await writeFile(join(directory, 'told.json'), JSON.stringify({ facts, told }));
  const script = join(import.meta.dirname, 'apt-outside-unprivileged.ts');
  const { stdout } = await exec('env', [
    ...asNobody,
    ...[process.execPath, script, directory, 'hello-one', 'hello-extra'],
  ]);
  assert.equal(JSON.parse(stdout), {
    uid: nobody,
    archives: ['hello-extra_1.0-1_all.deb', 'hello-one_1%3a1.1-1_all.deb'],
    wanted: ['hello-extra=1.0-1', 'hello-one=1:1.1-1'],
  });
  await rm(directory, { recursive: true });
  assert.is(await access(directory).catch(() => 'gone'), 'gone');
});

test.run();
