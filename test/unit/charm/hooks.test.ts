import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseBrokerUrls } from '#lib/broker-address.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { rabbit, relate, start } from './samples.ts';
import { freePort, makeUnit } from './unit.ts';

/** The charm's program, hook by hook: as Juju runs it, by `dispatch` and real processes, or in this process. */

const missing = 'Missing relation amqp: juju integrate imagebuilder rabbitmq-server';
/** Programs that change something. */
const changing = [
  'apt-get',
  'close-port',
  'open-port',
  'relation-set',
  'secret-add',
  'secret-remove',
  'secret-set',
  'systemd-sysusers',
];

test('a unit is blocked without RabbitMQ, waits for its user there, and is active then', async () => {
  await using unit = await makeUnit();
  const { model, machine, port } = unit;
  for (const name of ['install', 'leader-elected', 'config-changed', 'start']) await unit.hook(name);
  assert.equal(model.status, { name: 'blocked', message: missing });
  assert.is(model.version, '1.2.3');
  assert.equal(machine.starts, []);
  assert.equal([...model.ports], []);

  model.relations.set('amqp:1', { units: new Map(), local: {} });
  await unit.hook('amqp-relation-created', { JUJU_RELATION_ID: 'amqp:1' });
  assert.equal(model.relations.get('amqp:1')?.local, { username: 'imagebuilder', vhost: 'imagebuilder' });
  assert.is(model.status.name, 'waiting');

  model.relations.get('amqp:1')?.units.set('rabbitmq-server/0', { hostname: '10.0.0.9' });
  await unit.hook('amqp-relation-joined', { JUJU_RELATION_ID: 'amqp:1' });
  assert.match(model.status.message, 'Waiting for rabbitmq-server');
  assert.equal(machine.starts, []);

  model.relations.get('amqp:1')?.units.set('rabbitmq-server/0', rabbit());
  await unit.hook('amqp-relation-changed', { JUJU_RELATION_ID: 'amqp:1' });
  assert.is(model.status.name, 'active');
  assert.match(model.status.message, `Ready on port ${port}`);
  assert.equal([...model.ports], [`${port}/tcp`]);
  assert.ok(machine.enabled && machine.active);
  assert.is(machine.starts.length, 1);
  const [{ environment, secrets } = { environment: {}, secrets: {} }] = machine.starts;
  assert.is(environment.IMAGEBUILDER_LISTEN, `0.0.0.0:${port}`);
  assert.is(environment.IMAGEBUILDER_ALLOWED_HOSTS, '10.0.0.5');
  const [address] = parseBrokerUrls(secrets['imagebuilder-amqp-url'] ?? '');
  assert.is(address.password, 'rabbit-password');
  assert.is(address.where, 'amqp://10.0.0.9:5672/imagebuilder');
});

test('a hook that runs again changes nothing and starts nothing', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  model.secrets.set('secret:t', { content: { token: 'token-of-the-operator-0123456789' }, granted: true });
  model.options.token = 'secret:t';
  model.relations.set('image-builder:3', { units: new Map([['lander/0', {}]]), local: {} });
  model.relations.set('cos-agent:4', { units: new Map([['grafana-agent/0', {}]]), local: {} });
  await start(unit);
  await unit.hook('update-status');
  const before = unit.files();
  for (const name of ['update-status', 'config-changed', 'upgrade-charm', 'start']) {
    await unit.hook(name);
    const changes = unit.calls.filter(({ tool, words }) => changing.includes(tool) || words[0] === 'restart');
    assert.equal(changes, [], name);
  }
  assert.equal(unit.files(), before);
  assert.is(machine.starts.length, 1);
});

test('secrets are files of mode 0600 in a folder of mode 0700, and no other file has them', async () => {
  await using unit = await makeUnit();
  await start(unit);
  const folder = unit.path('/etc/imagebuilder/secrets');
  assert.is(statSync(folder).mode & 0o777, 0o700);
  assert.is(statSync(join(folder, 'imagebuilder-amqp-url')).mode & 0o777, 0o600);
  const holders = Object.entries(unit.files()).filter(([, text]) => text.includes('rabbit-password'));
  assert.equal(
    holders.map(([path]) => path),
    ['/etc/imagebuilder/secrets/imagebuilder-amqp-url'],
  );
});

test('a hook that fails commits nothing, and the next one does it all', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  model.relations.set('amqp:1', { units: new Map([['rabbitmq-server/0', rabbit()]]), local: {} });
  model.relations.set('image-builder:3', { units: new Map([['lander/0', {}]]), local: {} });
  model.secrets.set('secret:t', { content: { token: 'token-of-the-operator-0123456789' }, granted: true });
  model.options.token = 'secret:t';
  model.failing.add('status-set');
  const { exitCode, errors } = await unit.tryHook('config-changed');
  assert.is.not(exitCode, 0);
  assert.match(errors, 'status-set');
  assert.equal(model.relations.get('amqp:1')?.local, {});
  assert.equal(model.relations.get('image-builder:3')?.local, {});
  assert.equal([...model.ports], []);
  assert.is(model.ownSecrets.size, 0);
  model.failing.clear();
  await unit.hook('config-changed');
  assert.is(model.status.name, 'active');
  assert.is(model.relations.get('amqp:1')?.local.username, 'imagebuilder');
  assert.is(model.relations.get('image-builder:3')?.local.hostname, '10.0.0.5');
  assert.is(model.ownSecrets.size, 1);
  assert.is(machine.starts.length, 1);
});

test('another port closes the port before, opens its own, and restarts the service', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  await relate(unit, 'image-builder:3', { 'lander/0': {} });
  await start(unit);
  const other = await freePort();
  model.options.port = other;
  await unit.hook('config-changed');
  assert.equal([...model.ports], [`${other}/tcp`]);
  assert.is(machine.starts.length, 2);
  assert.is(model.relations.get('image-builder:3')?.local.port, String(other));
});

for (const port of [0, -1, 65_536, 1_000_000]) {
  test(`a unit with the port ${port} is blocked`, async () => {
    await using unit = makeQuickUnit();
    unit.model.options.port = port;
    await start(unit);
    assert.is(unit.model.status.name, 'blocked');
    assert.match(unit.model.status.message, 'Option port must be from 1 to 65535: juju config imagebuilder port=8000');
    assert.equal(unit.machine.starts, []);
  });
}

test('a unit is active only once its service answers, though systemd calls it active before', async () => {
  await using unit = makeQuickUnit();
  unit.machine.listensAfterMs = 1_500;
  await start(unit);
  assert.is(unit.model.status.name, 'active');
  const response = await fetch(`http://127.0.0.1:${unit.port}/healthz`);
  assert.is(response.status, 200);
});

test('a service that ends at once is blocked with what it has said, and is started at the next hook', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  machine.startFault = 'the configuration has faults: IMAGEBUILDER_LOG_LEVEL must be debug, info, warn or error';
  await start(unit);
  assert.is(model.status.name, 'blocked');
  assert.match(model.status.message, 'IMAGEBUILDER_LOG_LEVEL must be debug');
  machine.startFault = null;
  await unit.hook('update-status');
  assert.is(model.status.name, 'active');
});

test('a service that ends without a word is not blamed for the fault of a start before', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  machine.startFault = 'the configuration has faults: IMAGEBUILDER_LOG_LEVEL must be debug, info, warn or error';
  await start(unit);
  machine.startFault = '';
  await unit.hook('update-status');
  assert.is(model.status.name, 'blocked');
  assert.not.match(model.status.message, 'IMAGEBUILDER_LOG_LEVEL');
});

test('a status says why builds cannot run: RabbitMQ is too old, or the folder has no room', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  machine.report = { broker: { reachable: false, message: 'RabbitMQ 3.9 has no streams' }, workers: [] };
  machine.health = { status: 200, body: { ready: true } };
  await start(unit);
  assert.equal(model.status, { name: 'waiting', message: 'RabbitMQ: RabbitMQ 3.9 has no streams' });
  const unable = 'work folder: 1 GiB is free in /var/lib/imagebuilder/work, and builds need 2 GiB';
  machine.report = { broker: { reachable: true }, workers: [{ name: 'imagebuilder-0-1', unable }] };
  await unit.hook('update-status');
  assert.equal(model.status, { name: 'waiting', message: unable });
});

test('a restart that systemd refuses is told, and tried again at the next hook', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  machine.systemdFails = true;
  await start(unit);
  assert.is(model.status.name, 'blocked');
  assert.match(model.status.message, 'Failed to connect to bus');
  machine.systemdFails = false;
  await unit.hook('update-status');
  assert.is(model.status.name, 'active');
});

test('settings that a hook has written before it died are those of the next start', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  await start(unit);
  model.options['log-level'] = 'debug';
  machine.systemdFails = true;
  await unit.hook('config-changed');
  machine.systemdFails = false;
  assert.ok(machine.active);
  await unit.hook('update-status');
  assert.is(machine.starts.length, 2);
  assert.is(machine.starts[1]?.environment.IMAGEBUILDER_LOG_LEVEL, 'debug');
});

test('stop ends the service, and remove leaves nothing on the machine', async () => {
  await using unit = makeQuickUnit();
  const { machine } = unit;
  mkdirSync(unit.path('/var/lib/imagebuilder/store'), { recursive: true });
  writeFileSync(unit.path('/var/lib/imagebuilder/store/image'), 'x');
  await start(unit);
  await unit.hook('stop');
  assert.not.ok(machine.active || machine.enabled);
  await unit.hook('remove');
  assert.equal(unit.files(), {});
  assert.not.ok(existsSync(unit.path('/var/lib/imagebuilder')));
  assert.not.ok(existsSync(unit.path('/usr/local/bin/imagebuilder')));
  assert.not.ok(machine.hasUser);
  await unit.hook('remove');
});

test('stop and remove of a unit that was never installed end well', async () => {
  await using unit = makeQuickUnit();
  await unit.hook('stop');
  await unit.hook('remove');
  assert.equal(unit.files(), {});
});

test('dispatch without Juju says who runs it', async () => {
  await using unit = makeQuickUnit();
  const { exitCode, errors } = await unit.tryHook('install', { JUJU_UNIT_NAME: '' });
  assert.is.not(exitCode, 0);
  assert.match(errors, 'dispatch is run by Juju');
});

test.run();
