import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { makeAuthority } from '../../lab/servers/authority.ts';
import { call } from '../../lab/servers/function.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { startLaunchpad } from '../../lab/servers/launchpad.ts';
import { freePorts, isFree } from '../../lab/servers/ports.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { makeCharm } from '../../packaging/charm/pack.ts';
import { type InstalledUnit, startUnit } from '../system/charm-unit.ts';
import { smallImage } from '../system/faults/small-image.ts';
import { withMachine } from '../system/with-machine.ts';

/**
 * The packed charm from `install` to `remove` on a machine with a real systemd, with a real RabbitMQ elsewhere, by TLS. The
 * hook tools are those of test/unit/charm; no controller of Juju runs.
 */

const root = join(import.meta.dirname, '../..');
const services = new AsyncDisposableStack();
test.after(() => services.disposeAsync());

const password = 'a/b+c @:%d';
const token = 'the-token-of-the-operator';

async function temporaryFolder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-charm-'));
  services.defer(() => rm(directory, { recursive: true }));
  return directory;
}

async function packCharm(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const release = { root, version, seconds: 1_700_000_000, to: await temporaryFolder() };
  return await makeCharm({ ...release, architecture: workerArchitecture, level: 1 });
}

interface Broker {
  readonly rabbitMq: RabbitMq;
  /** Data of a unit of rabbitmq-server that has made the user. */
  readonly data: Record<string, string>;
}

async function startBroker(): Promise<Broker> {
  const authority = await makeAuthority(await temporaryFolder());
  const [port = 0] = await freePorts(1);
  const { certificateFile, keyFile } = authority.server;
  const files = [`certfile = ${certificateFile}`, `keyfile = ${keyFile}`].map((line) => `ssl_options.${line}`);
  const configuration = [`listeners.ssl.1 = 127.0.0.1:${port}`, ...files];
  const rabbitMq = services.use(await startRabbitMq({ configuration }));
  const certificate = Buffer.from(authority.ca.certificate).toString('base64');
  return { rabbitMq, data: { hostname: '127.0.0.1', password, ssl_port: String(port), ssl_ca: certificate } };
}

/** As rabbitmq-server does once it has both names. */
async function makeUser({ rabbitMq }: Broker, asked: Readonly<Record<string, string>>): Promise<void> {
  const { username = '', vhost = '' } = asked;
  await rabbitMq.control(['add_vhost', vhost]);
  await rabbitMq.control(['add_user', username, password]);
  await rabbitMq.control(['set_permissions', '--vhost', vhost, username, '.*', '.*', '.*']);
}

/** All that is named after the charm; the storage stays. */
async function traces({ machine }: InstalledUnit): Promise<string[]> {
  const named = ['-path', '/var/cache/man', '-prune', '-o', '-iname', '*imagebuilder*', '-print'];
  const folders = ['/etc', '/opt', '/run', '/usr', '/var/lib/systemd', '/var/tmp'];
  const { stdout } = await machine.run(['find', ...folders, '-xdev', ...named]);
  const { stdout: units } = await machine.run([
    'systemctl',
    'list-units',
    '--all',
    '--plain',
    '--no-legend',
    'imagebuilder*',
  ]);
  const { stdout: processes } = await machine.run(['pgrep', '--full', '/opt/imagebuilder'], { okExitCodes: [0, 1] });
  const user = await machine.run(['id', 'imagebuilder'], { okExitCodes: [0, 1] });
  const modes = await machine.run(['sh', '-c', 'stat --format="%a %G" /boot/vmlinuz-* | sort -u']);
  return [stdout, units, processes, user.stdout, modes.stdout]
    .join('\n')
    .split('\n')
    .filter((line) => line !== '');
}

const isActive = async ({ machine }: InstalledUnit): Promise<boolean> =>
  (await machine.run(['systemctl', 'is-active', '--quiet', 'imagebuilder'], { okExitCodes: [0, 3, 4] })).exitCode === 0;

async function eventually<Value>(what: string, look: () => Promise<Value | null>): Promise<Value> {
  const until = Date.now() + 240_000;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (Date.now() > until) throw new Error(`${what}: not within four minutes`);
    await sleep(200);
  }
}

withMachine(
  'the charm installs, builds by its action, keeps builds over changes and upgrades, pauses, and leaves nothing when it is removed',
  async () => {
    const base = await smallImage();
    const images = services.use(await startImageServer(base.path));
    const ppa = { owner: 'project', name: 'ppaname', series: [base.codename], packages: [{ name: 'libfoo' }] };
    const launchpad = services.use(await startLaunchpad({ ppas: [ppa], architectures: [workerArchitecture] }));
    const [broker, packed] = await Promise.all([startBroker(), packCharm()]);
    const unit = services.use(await startUnit(packed));
    const { model } = unit;
    const [port = 0] = await freePorts(1);
    Object.assign(model.options, {
      port,
      'egress-allow-loopback': true,
      'launchpad-api-url': launchpad.apiUrl,
      'ppa-url': launchpad.ppaUrl,
      token: 'secret:operator',
    });
    model.secrets.set('secret:operator', { content: { token }, granted: true });
    const before = await traces(unit);
    const status = () => `${model.status.name}: ${model.status.message}`;

    for (const name of ['install', 'leader-elected', 'config-changed', 'start']) await unit.hook(name);
    assert.match(status(), /^blocked: .*juju integrate imagebuilder rabbitmq-server/);
    assert.not(await isActive(unit));

    const amqp = { units: new Map<string, Record<string, string>>(), local: {} as Record<string, string> };
    model.relations.set('amqp:1', amqp);
    const ofAmqp = { JUJU_RELATION: 'amqp', JUJU_RELATION_ID: 'amqp:1', JUJU_REMOTE_APP: 'rabbitmq-server' };
    await unit.hook('amqp-relation-created', ofAmqp);
    await makeUser(broker, amqp.local);
    amqp.units.set('rabbitmq-server/0', { hostname: '127.0.0.1' });
    const ofUnit = { ...ofAmqp, JUJU_REMOTE_UNIT: 'rabbitmq-server/0' };
    await unit.hook('amqp-relation-joined', ofUnit);
    assert.match(status(), /^waiting: .*rabbitmq-server to make the user/);
    amqp.units.set('rabbitmq-server/0', broker.data);
    await unit.hook('amqp-relation-changed', ofUnit);
    assert.match(status(), /^active: /);
    assert.equal([...model.ports], [`${port}/tcp`]);

    const lander = { units: new Map([['lander/0', {}]]), local: {} as Record<string, string> };
    model.relations.set('image-builder:2', lander);
    await unit.hook('image-builder-relation-joined', {
      JUJU_RELATION: 'image-builder',
      JUJU_RELATION_ID: 'image-builder:2',
    });
    const ask = async (path: string) => {
      const { hostname = '', port: itsPort, 'base-path': basePath, 'token-secret-id': secret = '' } = lander.local;
      const shared = model.ownSecrets.get(secret);
      assert.ok(shared?.grants.has('image-builder:2'), 'the token is granted to the relation');
      const headers = { authorization: `Bearer ${shared?.content.token}` };
      const answer = await call({ host: hostname, port: Number(itsPort) }, `${basePath}${path}`, { headers });
      return { status: answer.status, body: JSON.parse(answer.body.toString()) };
    };
    assert.is((await ask('/imagebuilder/status')).body.status, 'ok');

    const request = {
      series: base.codename,
      'image-url': images.url,
      ppas: ['ppa:project/ppaname'],
      packages: ['libfoo'],
    };
    images.hold();
    await unit.action('build', { ...request, wait: false });
    assert.is(model.failure, null);
    const id = model.results['build-id'] ?? '';
    const build = async () => (await ask(`/build_image/${id}`)).body as { state: string; attempt: number };
    const untilRunning = (attempt: number, starts: number) =>
      eventually(`attempt ${attempt} runs`, async () => {
        const found = await build();
        return found.state === 'running' && found.attempt === attempt && images.starts.length >= starts ? found : null;
      });
    await untilRunning(1, 1);

    model.options.guest = 'host';
    await unit.hook('config-changed');
    assert.match(status(), /^active: /);
    await untilRunning(2, 2);

    const manifest = join(unit.charm, 'program/lib/imagebuilder/package.json');
    const program = JSON.parse(await readFile(manifest, 'utf8')) as object;
    await writeFile(manifest, JSON.stringify({ ...program, version: '99.0.0' }));
    await unit.hook('upgrade-charm');
    assert.is(model.version, '99.0.0');
    const { stdout: programs } = await unit.machine.run([
      'find',
      '/opt/imagebuilder',
      '-mindepth',
      '1',
      '-maxdepth',
      '1',
      '-type',
      'd',
    ]);
    assert.is(programs.trim().split('\n').length, 1, 'the program before is deleted');
    await untilRunning(3, 3);
    images.release();
    await eventually('the build ends', async () => {
      const found = await build();
      return found.state === 'running' || found.state === 'queued'
        ? null
        : assert.equal([found.state, found.attempt], ['completed', 3]);
    });

    await unit.action('build', request);
    assert.equal([model.failure, model.results.state], [null, 'completed'], model.results.build);
    const stored = await readdir(join(unit.data, 'store', model.results['build-id'] ?? ''));
    assert.ok(
      stored.some((name) => name.endsWith('.qcow2')),
      stored.join(),
    );
    await unit.action('status');
    assert.match(model.results.report ?? '', model.results['build-id'] ?? '');

    await unit.action('pause');
    for (const name of ['update-status', 'config-changed', 'update-status']) await unit.hook(name);
    assert.match(status(), /^maintenance: Paused/);
    assert.not(await isActive(unit));
    assert.equal(lander.local, {});
    await unit.action('resume');
    assert.match(status(), /^active: /);
    assert.is((await ask('/imagebuilder/status')).status, 200);

    amqp.units.clear();
    await unit.hook('amqp-relation-departed', { ...ofUnit, JUJU_DEPARTING_UNIT: 'rabbitmq-server/0' });
    await unit.hook('amqp-relation-broken', ofAmqp);
    model.relations.delete('amqp:1');
    assert.match(status(), /^blocked: /);
    assert.not(await isActive(unit));
    const { stdout: secrets } = await unit.machine.run(['ls', '/etc/imagebuilder/secrets']);
    assert.not.match(secrets, 'imagebuilder-amqp');
    assert.equal([...model.ports], []);

    for (const name of ['stop', 'remove']) await unit.hook(name);
    assert.equal(await traces(unit), before);
    assert.ok(await isFree(port));
    assert.is((await readdir(join(unit.data, 'store'))).length, 2, 'images on a storage stay');
  },
);

test.run();
