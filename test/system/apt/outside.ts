import { once } from 'node:events';
import {
  appendFile,
  chmod,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { indexFolder, openAptCaches } from '#lib/apt/caches.ts';
import { readImageFacts } from '#lib/apt/facts.ts';
import { openAptOutside } from '#lib/apt/outside/apt-outside.ts';
import { folderFor, readOutsideState } from '#lib/apt/outside/worker-apt.ts';
import { readPackages } from '#lib/apt/packages.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { failure } from '../../failure.ts';
import { asNobody, nobody } from '../other-user.ts';
import { assertUnprivilegedStatus, unprivilegedIds } from '../unprivileged.ts';
import { type AptHouse, never, quiet } from './house.ts';

const who = 'the worker’s apt';

/** The worker's apt takes sources, keys and certificates from the image, and nothing from the worker. */
export function workerTakesTheImagesSources(test: Test<AptHouse>): void {
  test('only the image’s own keys count: without the one that a source names, update fails', async (house) => {
    const keyring = '/etc/apt/keyrings/test.gpg';
    const source = await house.resolve('sound');
    const path = join(house.chroot.root, keyring);
    const line = (options: string) => `deb [${options}] ${source.url} ${house.series} main\n`;
    await house.setSource(null);
    for (const [options, key, code] of [
      [`signed-by=${keyring}`, source.key.binary, null],
      [`signed-by=${keyring}`, source.key.armored, null],
      [`signed-by=${keyring}`, null, 'apt.signature'],
      [`signed-by=${keyring}`, (await house.resolve('wrong-signature')).key.binary, 'apt.signature'],
      ['trusted=no', source.key.binary, 'apt.signature'],
      ['allow-insecure=yes', source.key.binary, 'apt.signature'],
    ] as const) {
      await rm(path, { force: true });
      if (key !== null) await writeFile(path, key);
      await writeFile(join(house.chroot.root, 'etc/apt/sources.list'), line(options));
      await using opened = await house.open(who);
      const update = opened.apt.updateLists({ ...quiet, sources: [source] });
      if (code === null) await update;
      else assert.is((await failure(update)).code, code, options);
    }
    await rm(path);
  });

  test('a TLS server is judged by the image’s certificates, not by the worker’s', async (house) => {
    const source = await house.resolve('sound');
    const key = join(house.chroot.directory, 'key.pem');
    const certificate = join(house.chroot.directory, 'certificate.pem');
    await exec('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1'],
      ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate],
    ]);
    const server = createServer(
      { key: await readFile(key), cert: await readFile(certificate) },
      (request, response) => {
        get(`${house.launchpad.ppaUrl}${request.url}`, (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        });
      },
    );
    const bundle = join(house.chroot.root, 'etc/ssl/certs/ca-certificates.crt');
    const own = await readFile(bundle);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const url = source.url.replace(house.launchpad.ppaUrl, `https://127.0.0.1:${port}`);
      await house.setSource(null);
      await writeFile(join(house.chroot.root, 'etc/apt/trusted.gpg.d/test.asc'), source.key.armored);
      await writeFile(join(house.chroot.root, 'etc/apt/sources.list'), `deb ${url} ${house.series} main\n`);
      const update = async () => {
        await using opened = await house.open(who);
        await opened.apt.updateLists(quiet);
      };
      const refused = await failure(update());
      assert.is(refused.code, 'upstream.unreachable');
      assert.match(refused.message, /certificate/i);
      await appendFile(bundle, await readFile(certificate));
      await update();
    } finally {
      await writeFile(bundle, own);
      server.close();
      server.closeAllConnections();
    }
  });

  test('a source that lies in the image, or would be a file of the worker, is refused', async (house) => {
    for (const [text, words] of [
      ['deb [trusted=yes] file:/etc/shadow ./\n', 'a folder of the image itself'],
      ['deb copy:/etc ./\n', 'a folder of the image itself'],
      ['deb mirror+file:/etc/passwd stable main\n', '/etc/passwd, which a source of the image names, names no mirror'],
      ['deb store:/etc/passwd stable main\n', 'is read with "store"'],
    ] as const) {
      await house.setSource(null);
      await writeFile(join(house.chroot.root, 'etc/apt/sources.list'), text);
      const error = await failure(house.open(who));
      assert.is(error.code, 'apt.repository');
      assert.match(error.message, words);
    }
  });
}

/** The worker's apt takes nothing but data from an image, runs without rights, and opens no package. */
export function workerIsSafe(test: Test<AptHouse>): void {
  test('no command of an image’s apt.conf runs on the worker, and none of its files are taken', async (house) => {
    const touched = await mkdtemp(join(tmpdir(), 'apt-outside-touched-'));
    await chmod(touched, 0o777);
    await house.setSource(await house.resolve('sound'));
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
    const hostile = join(house.chroot.root, 'etc/apt/apt.conf.d/99hostile');
    await writeFile(hostile, `${conf.join('\n')}\n`);
    await using opened = await house.open(who);
    const { apt, session } = opened;
    const { client } = house;
    const cache = await createAptCache({
      client,
      cacheDirectory: join(house.chroot.directory, 'cache'),
      cacheBytes: 1e9,
    });
    await using proxy = await startAptProxy({ client, cache, signal: never });
    const options = { ...quiet, proxyUrl: proxy.url };
    await apt.updateLists(options);
    await apt.installPackages(['hello-flawed'], options);
    assert.ok(proxy.statistics.misses > 0);
    assert.ok((await readPackages(session)).packages.some(({ name }) => name === 'hello-flawed'));
    assert.equal(await readdir(touched), []);
    await rm(touched, { recursive: true });
    await rm(hostile);
  });

  test('folders of apt that an image has replaced by links are refused, and nothing behind them changes', async (house) => {
    const { directory } = house.chroot;
    const session = house.chroot.session();
    const state = await readOutsideState(session, await readImageFacts(session));
    for (const name of ['archives', indexFolder]) {
      const workDirectory = await mkdtemp(join(directory, 'work-'));
      const cache = { cacheDirectory: join(directory, 'cache'), cacheBytes: 1e9, baseImageSha256: 'a'.repeat(64) };
      await using caches = await openAptCaches({ ...cache, workDirectory, signal: never });
      const strange = await mkdtemp(join(directory, 'strange-'));
      await writeFile(join(strange, 'file'), '');
      const place = join(folderFor(caches.binds, '/var/cache/apt'), name);
      await rm(place, { recursive: true });
      await symlink(strange, place);
      const options = { binds: caches.binds, workDirectory, unprivilegedIds, signal: never };
      const error = await failure(openAptOutside(session, state, options));
      assert.is(error.code, 'image.unsupported', name);
      assert.equal(await readdir(strange), ['file']);
      assert.is((await stat(join(strange, 'file'))).uid, process.getuid?.());
      await rm(strange, { recursive: true });
      await rm(workDirectory, { recursive: true });
    }
  });

  test('a package whose script needs the network is named, with the setting that gives it one', async (house) => {
    await house.setSource(await house.resolve('c++'));
    await using opened = await house.open(who);
    const { apt } = opened;
    await apt.updateLists(quiet);
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

  test('a package whose script fails in an emulated image, whose scripts reach the network, is not said to want it', async (house) => {
    await house.setSource(await house.resolve('c++'));
    await using opened = await house.open(who, { network: true });
    await opened.apt.updateLists(quiet);
    const error = await failure(opened.apt.installPackages(['calls-home'], quiet));
    assert.is(error.code, 'apt.install');
    assert.match(error.message, /calls-home: .*post-installation script/);
    assert.not.match(error.message, /IMAGEBUILDER_VM_NETWORK/);
  });

  test('the worker hands packages in without looking into them: it is the image’s dpkg that refuses one', async (house) => {
    await house.setSource(await house.resolve('c++'));
    await using opened = await house.open(who);
    const { apt } = opened;
    await apt.updateLists(quiet);
    const error = await failure(apt.installPackages(['no-package'], quiet));
    assert.is(error.code, 'apt.install', error.message);
    const told = [error.message, ...error.logTail].join('\n');
    assert.match(told, /no-package/);
    assert.match(told, /dpkg: error processing archive \/run\/imagebuilder-packages/);
  });

  test('the worker’s apt is a user without rights where the worker is root, and nothing of it is left', async (house) => {
    await house.setSource(await house.resolve('c++'));
    const cancel = new AbortController();
    house.launchpad.fault(/InRelease$/, { kind: 'stall' });
    try {
      await using opened = await house.open(who, { signal: cancel.signal });
      const update = failure(opened.apt.updateLists({ ...quiet, signal: cancel.signal }));
      // A method of apt is started twice: the first, which only says what it can do, may end while it is looked at.
      const statusesOf = async () => {
        const running = await processesIn(house.chroot.directory);
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
      house.launchpad.fault(/InRelease$/, null);
    }
    assert.equal(await processesIn(house.chroot.directory), new Map());
  });

  test('the worker needs no privileges', async (house) => {
    await house.setSource(await house.resolve('c++'));
    await using recorded = await recordImage(house);
    await chmod(recorded.directory, 0o777);
    assert.equal(await handIn(asNobody, recorded.directory), handedIn(nobody));
  });

  test('the worker’s apt needs no rights of root below a folder of root’s alone, whoever owns its folders', async (house) => {
    await house.setSource(await house.resolve('c++'));
    await using recorded = await recordImage(house);
    await chmod(recorded.directory, 0o700);
    assert.equal(await handIn([], recorded.directory), handedIn(0));
  });
}

/** A folder with the image's output in `told.json`: root is needed for the chroot, but not to play that back. */
async function recordImage(house: AptHouse) {
  const directory = await mkdtemp(join(tmpdir(), 'apt-outside-told-'));
  const told: Record<string, string[]> = {};
  await using opened = await house.open(who, {
    onLine: (name, line) => {
      told[name] = [...(told[name] ?? []), line];
    },
  });
  await writeFile(join(directory, 'told.json'), JSON.stringify({ facts: opened.facts, told }));
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
}

async function handIn(asUser: readonly string[], directory: string): Promise<unknown> {
  const script = join(import.meta.dirname, 'recorded-worker.ts');
  const { stdout } = await exec('env', [...asUser, process.execPath, script, directory, 'hello-one', 'hello-extra']);
  return JSON.parse(stdout);
}

const handedIn = (uid: number) => ({
  uid,
  archives: ['hello-extra_1.0-1_all.deb', 'hello-one_1%3a1.1-1_all.deb'],
  wanted: ['hello-extra=1.0-1', 'hello-one=1:1.1-1'],
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
