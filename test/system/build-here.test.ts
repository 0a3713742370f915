import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeSmallImage } from '../../lab/images/small-image.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { failingPackage, startLaunchpad } from '../../lab/servers/launchpad.ts';
import { readCyclonedx } from '../bills/cyclonedx.ts';
import { readSpdx } from '../bills/spdx.ts';
import { makeKeys } from '../unit/provenance/keys.ts';
import { startSpanReceiver } from '../unit/trace/span-receiver.ts';
import { assertPackages, assertRepositories, buildDefinitionOf } from './provenance.ts';

/** `imagebuilder build --here`: one build in the command's own process, and looks into it. */

const root = join(import.meta.dirname, '..', '..');
const services = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'build-here-'));
services.defer(() => rm(directory, { recursive: true, force: true }));
const base = await makeSmallImage(baseImageCache, (line) => process.stderr.write(`  ${line}\n`));
const images = services.use(await startImageServer(base.path));
// As VMware's users get it: the disk in an archive.
await exec('qemu-img', [
  'convert',
  '-O',
  'vmdk',
  '-o',
  'subformat=streamOptimized',
  base.path,
  join(directory, 'disk.vmdk'),
]);
await exec('tar', ['--create', '--file', join(directory, 'disk.ova'), '--directory', directory, 'disk.vmdk']);
const appliances = services.use(await startImageServer(join(directory, 'disk.ova')));
const packages = [{ name: 'libfoo' }, failingPackage('broken', 'nothing works')];
const ppa = { owner: 'project', name: 'ppaname', series: [base.codename], packages };
const launchpad = services.use(await startLaunchpad({ ppas: [ppa] }));

const secrets = join(directory, 'secrets');
await mkdir(secrets);
const keys = await makeKeys('ed25519', directory);
await copyFile(keys.path, join(secrets, 'provenance-signing-key'));
const signing = { IMAGEBUILDER_SECRETS_DIRECTORY: secrets };

interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function buildHere(
  words: readonly string[],
  input = '',
  url = images.url,
  settings: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const about = ['--image-url', url, '--series', base.codename, '--ppa', 'ppa:project/ppaname'];
  const child = spawn(process.execPath, [join(root, 'bin/imagebuilder.ts'), 'build', '--here', ...about, ...words], {
    env: {
      PATH: process.env.PATH,
      TMPDIR: process.env.TMPDIR,
      IMAGEBUILDER_GUEST: 'host',
      // Tests that build the same twice look at what the second build does.
      IMAGEBUILDER_FINISHED_CACHE_SIZE: '0',
      IMAGEBUILDER_LAYERS_CACHE_SIZE: '0',
      IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
      IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
      IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
      IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
      IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
      IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
      ...settings,
    },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.end(input);
  const [exitCode] = (await once(child, 'close')) as [number];
  return { exitCode, stdout, stderr };
}

test('a build runs from the fetch to the store, without RabbitMQ', async () => {
  await using receiver = await startSpanReceiver();
  const traceId = 'ab'.repeat(16);
  const tracing = {
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    TRACEPARENT: `00-${traceId}-${'cd'.repeat(8)}-01`,
  };
  const settings = { ...signing, ...tracing };
  const { exitCode, stdout, stderr } = await buildHere(['--json', 'libfoo'], '', images.url, settings);
  assert.is(exitCode, 0, stderr);
  const image = JSON.parse(stdout) as { readonly location: string; readonly packages: { readonly name: string }[] };
  assert.match(image.location, /^file:/);
  assert.ok(image.packages.some(({ name }) => name === 'libfoo'));
  const stored = async (end: string) => await readFile(fileURLToPath(image.location).replace(/\.qcow2$/, end), 'utf8');
  const { components } = readCyclonedx(await stored('.cdx.json'));
  const library = components.find(({ name }) => name === 'libfoo');
  assert.match(library?.purl ?? '', /^pkg:deb\/(debian|ubuntu)\/libfoo@.*&distro=(debian|ubuntu)-/);
  assert.ok(library?.properties?.some(({ name }) => name === 'aquasecurity:trivy:SrcName'));
  const { packages } = readSpdx(await stored('.spdx.json'));
  const inSpdx = packages.find(({ name }) => name === 'libfoo');
  for (const step of ['fetch', 'install', 'upload']) assert.match(stderr, new RegExp(`^${step}: `, 'm'));
  assert.equal(await readdir(join(directory, 'work')), []);
  const whole = receiver.spans.find(({ name }) => name === 'build');
  assert.equal([whole?.traceId, whole?.parentSpanId], [traceId, 'cd'.repeat(8)]);
  const steps = receiver.spans.filter(({ parentSpanId }) => parentSpanId === whole?.spanId).map(({ name }) => name);
  for (const step of ['fetch', 'install', 'upload']) assert.ok(steps.includes(step), steps.join(' '));

  // The provenance beside it vouches for it and for the manifest.
  const path = fileURLToPath(image.location);
  const beside = path.replace(/\.qcow2$/, '');
  const verify = [join(root, 'bin/imagebuilder.ts'), 'verify', '--key', keys.publicPath];
  for (const file of [path, `${beside}.manifest`]) {
    await exec(process.execPath, [...verify, file, `${beside}.provenance.json`]);
  }
  const { externalParameters, internalParameters, resolvedDependencies } = buildDefinitionOf(
    await readFile(`${beside}.provenance.json`, 'utf8'),
  );
  assert.equal(externalParameters.package_list, ['libfoo']);
  assert.equal(internalParameters, { guest: 'host', accelerator: null, kernel: release(), emulator: null });
  const [material] = resolvedDependencies;
  const { stdout: baseSum } = await exec('sha256sum', [base.path]);
  assert.equal(
    [material?.digest?.sha256, material?.annotations?.verified_by],
    [baseSum.slice(0, 64), 'checksums_over_http'],
  );
  const files = await assertPackages(resolvedDependencies, launchpad.ppaUrl);
  const repositories = await assertRepositories(resolvedDependencies, launchpad.ppaUrl);
  assert.equal(
    repositories.map(({ annotations }) => [annotations.repository.suite, annotations.packages]),
    [[base.codename, 1]],
  );
  assert.is(library?.hashes?.[0]?.content, files[0]?.digest?.sha256);
  assert.equal(
    [inSpdx?.downloadLocation, inSpdx?.checksums?.[0]?.checksumValue],
    [files[0]?.uri, files[0]?.digest?.sha256],
  );
  assert.equal(
    files.map(({ name, annotations }) => [name, annotations]),
    [
      [
        library?.purl,
        {
          repositories: [
            { uri: `${launchpad.ppaUrl}/project/ppaname/ubuntu`, suite: base.codename, component: 'main' },
          ],
        },
      ],
    ],
  );
});

test('an image of another virtual machine in an archive is built on, and the result is a qcow2 as ever', async () => {
  const { stdout: sum } = await exec('sha512sum', [join(directory, 'disk.ova')]);
  const checksum = `sha512:${sum.slice(0, 128)}`;
  const words = ['--json', '--checksum', checksum, 'libfoo'];
  const { exitCode, stdout, stderr } = await buildHere(words, '', appliances.url);
  assert.is(exitCode, 0, stderr);
  assert.match(stderr, 'and is verified by the digest in the request');
  assert.match(stderr, 'the base image comes as a VMDK image: it is unwrapped');
  const { location } = JSON.parse(stdout) as { readonly location: string };
  const { stdout: described } = await exec('qemu-img', ['info', '--output=json', fileURLToPath(location)]);
  assert.is((JSON.parse(described) as { readonly format: string }).format, 'qcow2');
  assert.equal(await readdir(join(directory, 'work')), []);
});

test('in a vm with a network, apt inside the image reaches the PPA through the build’s proxy, and so do scripts', async () => {
  const network = { IMAGEBUILDER_GUEST: 'vm', IMAGEBUILDER_VM_NETWORK: 'true', ...signing };
  const { exitCode, stdout, stderr } = await buildHere(['--json', 'libfoo'], '', images.url, network);
  assert.is(exitCode, 0, stderr);
  const image = JSON.parse(stdout) as { readonly location: string; readonly packages: { readonly name: string }[] };
  assert.ok(image.packages.some(({ name }) => name === 'libfoo'));
  const provenance = fileURLToPath(image.location).replace(/\.qcow2$/, '.provenance.json');
  const { resolvedDependencies } = buildDefinitionOf(await readFile(provenance, 'utf8'));
  assert.is((await assertRepositories(resolvedDependencies, launchpad.ppaUrl)).length, 1);
});

test('it ends after the step that --until names, and leaves the work directory where --keep says', async () => {
  const kept = join(directory, 'kept');
  const { exitCode, stdout, stderr } = await buildHere(['--until', 'install', '--keep', kept, 'libfoo']);
  assert.equal([exitCode, stdout], [0, ''], stderr);
  assert.not.match(stderr, /^seal: /m);
  const [name = ''] = await readdir(kept);
  assert.ok((await readdir(join(kept, name))).includes('overlay.qcow2'));
});

test('a dry run says what would be changed and downloaded, and builds nothing', async () => {
  const stored = await readdir(join(directory, 'store'));
  await using receiver = await startSpanReceiver();
  const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url };
  const { exitCode, stdout, stderr } = await buildHere(['--dry-run', 'libfoo'], '', images.url, tracing);
  assert.is(exitCode, 0, stderr);
  // That nothing is built is no error of a span; 2 says so.
  assert.ok(receiver.spans.some(({ name }) => name === 'build'));
  assert.ok(receiver.spans.every(({ status }) => status.code !== 2));
  assert.match(
    stdout,
    /^1 package would be installed:\n {2}libfoo 1\.0-1 \(all\)\n1 package would be downloaded: [\d.]+ \w+\n$/,
  );
  assert.not.match(stderr, /^seal: /m);
  assert.equal(await readdir(join(directory, 'work')), []);
  assert.equal(await readdir(join(directory, 'store')), stored);
  const json = await buildHere(['--dry-run', '--json', 'libfoo']);
  const plan = JSON.parse(json.stdout) as { readonly install: unknown };
  assert.equal(plan.install, [{ name: 'libfoo', architecture: 'all', version: '1.0-1', previous_version: null }]);
  const nothing = await buildHere(['--dry-run']);
  assert.equal([nothing.exitCode, nothing.stdout], [0, 'Nothing would be installed or removed\n'], nothing.stderr);
  const wrong = await buildHere(['--dry-run', 'no-such-package']);
  assert.is(wrong.exitCode, 1);
  assert.match(wrong.stderr, /no-such-package: no repository/);
});

test('lines of standard input run inside the image', async () => {
  const { exitCode, stderr } = await buildHere(
    ['--until', 'install', '--shell', 'libfoo'],
    'dpkg -s libfoo\nfalse\nexit\n',
  );
  assert.is(exitCode, 0, stderr);
  assert.match(stderr, /^Status: install ok installed$/m);
  assert.match(stderr, /^exit code 1$/m);
});

test('after a step that has failed, the shell shows the image as it is', async () => {
  const { exitCode, stderr } = await buildHere(['--shell', 'broken'], 'dpkg -s broken\n');
  assert.is(exitCode, 1);
  assert.match(stderr, /^Status: install ok half-configured$/m);
  assert.match(stderr, /The build failed: .*broken.*\(apt\.install\)/);
});

test('a step that does not exist is refused with the names of those that do', async () => {
  // `reuse` exists, but not in builds that a person looks into.
  for (const step of ['bake', 'reuse']) {
    const { exitCode, stderr } = await buildHere(['--until', step, 'libfoo']);
    assert.is(exitCode, 2);
    assert.match(stderr, '--until must be a step (fetch, inspect, open, ');
    assert.match(stderr, `not "${step}"`);
  }
});

test.after(() => services.disposeAsync());

test.run();
