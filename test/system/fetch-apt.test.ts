import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ExecError, exec } from '#lib/exec.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { type AptProxy, startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { startServer, type TestServer, temporaryFolder, testClient } from '../unit/fetch/with-server.ts';

/** apt itself, through the proxy, from a repository that apt-ftparchive made. Changes nothing of the machine's apt. */

const packageCount = 12;

/** A repository in `root`: `dists/stable/main/binary-all` with by-hash, `pool/pN_1_all.deb`. */
async function makeRepository(root: string): Promise<void> {
  await mkdir(join(root, 'pool'), { recursive: true });
  for (let index = 0; index < packageCount; index += 1) {
    const name = `imagebuilder-p${index}`;
    const tree = join(root, '..', 'tree');
    await mkdir(join(tree, 'DEBIAN'), { recursive: true });
    await writeFile(join(tree, 'payload'), randomBytes(50_000));
    const control = [
      `Package: ${name}`,
      'Version: 1',
      'Architecture: all',
      'Maintainer: Test <test@example.org>',
      'Description: test',
      '',
    ];
    await writeFile(join(tree, 'DEBIAN', 'control'), control.join('\n'));
    await exec('dpkg-deb', ['--build', '--root-owner-group', '-Znone', tree, join(root, 'pool', `${name}_1_all.deb`)]);
    await rm(tree, { recursive: true });
  }
  const binary = 'dists/stable/main/binary-all';
  await mkdir(join(root, binary, 'by-hash', 'SHA512'), { recursive: true });
  const { stdout: packages } = await exec('apt-ftparchive', ['packages', 'pool'], { cwd: root });
  await writeFile(join(root, binary, 'Packages'), packages);
  const options = { Suite: 'stable', Components: 'main', Architectures: 'all', 'Acquire-By-Hash': 'yes' };
  const settings = Object.entries(options).flatMap(([key, value]) => [
    '-o',
    `APT::FTPArchive::Release::${key}=${value}`,
  ]);
  const { stdout: release } = await exec('apt-ftparchive', [...settings, 'release', 'dists/stable'], { cwd: root });
  const { stdout: sum } = await exec('sha512sum', [join(root, binary, 'Packages')]);
  await writeFile(join(root, binary, 'by-hash', 'SHA512', sum.slice(0, 128)), packages);
  await writeFile(join(root, 'dists/stable/Release'), release);
}

/** Serves the repository; every answer is 503 while the state says so. */
function startRepository(root: string, state: { readonly down: boolean }): Promise<TestServer> {
  return startServer((request, response) => {
    void (async () => {
      const path = join(root, decodeURIComponent(request.url ?? ''));
      const found = await stat(path).catch(() => null);
      if (state.down) response.writeHead(503).end();
      else if (found === null) response.writeHead(404).end();
      else {
        const lastModified = found.mtime.toUTCString();
        if (request.headers['if-modified-since'] === lastModified) response.writeHead(304).end();
        else {
          response.writeHead(200, { 'content-length': found.size, 'last-modified': lastModified });
          createReadStream(path).pipe(response);
        }
      }
    })();
  });
}

/** An apt of its own under `root`, which reaches `repositoryUrl` through the proxy. */
async function makeApt(root: string, repositoryUrl: string, proxy: AptProxy) {
  for (const folder of ['lists/partial', 'cache/archives/partial', 'etc/sources.list.d', 'download']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await writeFile(join(root, 'status'), '');
  await writeFile(join(root, 'etc/sources.list'), `deb [trusted=yes] ${repositoryUrl} stable main\n`);
  const configuration = [
    `Dir::State::Lists "${root}/lists";`,
    `Dir::State::Status "${root}/status";`,
    `Dir::Cache "${root}/cache";`,
    `Dir::Etc "${root}/etc";`,
    `Dir::Etc::Trusted "/dev/null";`,
    'Dir::Etc::Parts "/dev/null";',
    'APT::Sandbox::User "root";',
    'APT::Architecture "amd64";',
    'Acquire::Languages "none";',
    'Acquire::Retries "0";',
    `Acquire::http::Proxy "${proxy.url}";`,
  ];
  await writeFile(join(root, 'apt.conf'), `${configuration.join('\n')}\n`);
  const run = (...args: string[]) =>
    exec('apt-get', args, { env: { APT_CONFIG: join(root, 'apt.conf') }, cwd: join(root, 'download') });
  const names = Array.from({ length: packageCount }, (_, index) => `imagebuilder-p${index}`);
  return {
    update: () => run('update', '-o', 'APT::Update::Error-Mode=any'),
    download: async () => {
      await run('download', ...names);
      return (await readdir(join(root, 'download'))).length;
    },
  };
}

async function workshop() {
  const folder = await temporaryFolder();
  const repositoryRoot = join(folder.path, 'repository');
  await makeRepository(repositoryRoot);
  const state = { down: false };
  const repository = await startRepository(repositoryRoot, state);
  const client = testClient({ retry: { attempts: 2 } });
  const cache = await createAptCache({ client, cacheDirectory: join(folder.path, 'cache'), cacheBytes: 100_000_000 });
  const opened: AsyncDisposable[] = [];
  let count = 0;
  return {
    repository,
    repositoryRoot,
    state,
    /** A build: a proxy of its own, and an apt without lists. */
    async build(url: string = repository.url) {
      count += 1;
      const proxy = await startAptProxy({ client, cache, signal: new AbortController().signal });
      opened.push(proxy);
      return { proxy, ...(await makeApt(join(folder.path, `apt${count}`), url, proxy)) };
    },
    async [Symbol.asyncDispose]() {
      for (const resource of opened) await resource[Symbol.asyncDispose]();
      client[Symbol.dispose]();
      await repository[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function failure(promise: Promise<unknown>): Promise<ExecError> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ExecError) return error;
  throw new Error('apt was expected to fail');
}

test('a second build fetches packages and by-hash indices from the cache', async () => {
  await using shop = await workshop();
  const first = await shop.build();
  await first.update();
  assert.is(await first.download(), packageCount);
  assert.equal(
    first.proxy.failures.filter(({ status }) => status !== 404),
    [],
  );
  const before = shop.repository.requests.length;
  const second = await shop.build();
  await second.update();
  assert.is(await second.download(), packageCount);
  const after = shop.repository.requests.slice(before);
  assert.equal(
    after.filter((request) => /pool|by-hash/.test(request)),
    [],
  );
  assert.ok(second.proxy.statistics.hits >= packageCount + 1);
});

test('two builds at once fetch each package once', async () => {
  await using shop = await workshop();
  const builds = [await shop.build(), await shop.build()];
  await Promise.all(builds.map((build) => build.update()));
  assert.equal(await Promise.all(builds.map((build) => build.download())), [packageCount, packageCount]);
  const fetched = shop.repository.requests.filter((request) => request.includes('/pool/'));
  assert.is(fetched.length, packageCount);
  assert.is(new Set(fetched).size, packageCount);
});

test('packages that the cache has are installed from it while their server is down', async () => {
  await using shop = await workshop();
  const first = await shop.build();
  await first.update();
  await first.download();
  const second = await shop.build();
  await second.update();
  shop.state.down = true;
  assert.is(await second.download(), packageCount);
});

test('a server that is down fails apt with its status, and the proxy knows whose fault it was', async () => {
  await using shop = await workshop();
  shop.state.down = true;
  const build = await shop.build();
  const error = await failure(build.update());
  assert.match(error.stderr, /answered 503/);
  assert.ok(build.proxy.failures.some(({ status, fault }) => status === 503 && fault === 'upstream'));
});

test('a host that the egress rules refuse fails apt with that reason', async () => {
  await using shop = await workshop();
  for (const url of ['http://169.254.169.254/ubuntu', 'https://169.254.169.254/ubuntu']) {
    const build = await shop.build(url);
    const error = await failure(build.update());
    assert.match(error.stderr, 'refused by the egress rules', url);
    assert.ok(build.proxy.failures.some(({ code }) => code === 'egress.refused'));
  }
});

test('a package that is not what the index says is not installed, cache or not', async () => {
  await using shop = await workshop();
  const path = join(shop.repositoryRoot, 'pool/imagebuilder-p3_1_all.deb');
  const content = await readFile(path);
  content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
  await writeFile(path, content);
  for (let count = 0; count < 2; count += 1) {
    const build = await shop.build();
    await build.update();
    assert.match((await failure(build.download())).stderr, 'Hash Sum mismatch');
  }
});

test.run();
