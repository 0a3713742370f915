import { existsSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseBrokerUrls } from '#lib/broker-address.ts';
import { loadConfig } from '#lib/config/load.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import type { Data } from './model.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { breakRelation, keystone, oddPassword, rabbit, relate, start } from './samples.ts';
import type { Unit } from './unit.ts';

/** Each relation that the unit needs, from its beginning to its end and again, with the hooks that Juju runs on the way. */

const certificate = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n';
const secretOf = (unit: Unit, name: string): string => unit.machine.starts.at(-1)?.secrets[name] ?? '';
const addresses = (unit: Unit) => parseBrokerUrls(secretOf(unit, 'imagebuilder-amqp-url'));

test('amqp: the service has the user, the nodes and the certificates of RabbitMQ as they are now', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  const changed = async (name = 'changed', variables = {}) =>
    await unit.hook(`amqp-relation-${name}`, { JUJU_RELATION_ID: 'amqp:1', ...variables });
  await relate(unit, 'amqp:1', { 'rabbitmq-server/0': rabbit('10.0.0.9', oddPassword) });
  assert.is(addresses(unit)[0].password, oddPassword);
  assert.is(addresses(unit)[0].user, 'imagebuilder');
  const units = model.relations.get('amqp:1')?.units ?? new Map();

  units.set('rabbitmq-server/1', { hostname: '10.0.0.10', clustered: 'true' });
  await changed();
  assert.is(machine.starts.length, 1, 'a node without the user changes nothing');
  units.set('rabbitmq-server/1', rabbit('10.0.0.10', oddPassword));
  await changed();
  assert.equal(
    addresses(unit).map(({ host, password }) => [host, password]),
    [
      ['10.0.0.9', oddPassword],
      ['10.0.0.10', oddPassword],
    ],
  );

  units.set('rabbitmq-server/0', { ...rabbit('10.0.0.9', oddPassword), vip: '10.0.0.99' });
  await changed();
  assert.is(machine.starts.length, 2, 'a virtual address counts only with ha-vip-only');
  for (const name of [...units.keys()])
    units.set(name, { ...units.get(name), vip: '10.0.0.99', 'ha-vip-only': 'true' });
  await changed();
  assert.equal(
    addresses(unit).map(({ host }) => host),
    ['10.0.0.99'],
  );

  units.clear();
  units.set('rabbitmq-server/0', {
    ...rabbit('fd00::9', 'second-password'),
    ssl_port: '5671',
    ssl_ca: Buffer.from(certificate).toString('base64'),
  });
  await changed('departed', { JUJU_DEPARTING_UNIT: 'rabbitmq-server/1' });
  assert.equal(
    addresses(unit).map(({ tls, host, port }) => [tls, host, port]),
    [[true, 'fd00::9', 5671]],
  );
  assert.is(secretOf(unit, 'imagebuilder-amqp-ca'), certificate);

  units.set('rabbitmq-server/0', { ...rabbit('10.0.0.9', 'second-password'), ssl_port: '5671' });
  await changed();
  assert.not.ok(existsSync(unit.path('/etc/imagebuilder/secrets/imagebuilder-amqp-ca')));

  await breakRelation(unit, 'amqp:1');
  assert.not.ok(machine.active);
  assert.not.ok(existsSync(unit.path('/etc/imagebuilder/secrets/imagebuilder-amqp-url')), 'the old user is forgotten');
  assert.is(model.status.name, 'blocked');
  assert.equal([...model.ports], []);

  await relate(unit, 'amqp:7', { 'rabbitmq-server/0': rabbit('10.0.0.9', 'third-password') });
  assert.is(addresses(unit)[0].password, 'third-password');
  assert.is(model.status.name, 'active');
});

test('amqp: a unit that departs is not taken any more, though it is still listed', async () => {
  await using unit = makeQuickUnit();
  await relate(unit, 'amqp:1', { 'rabbitmq-server/0': rabbit('10.0.0.9'), 'rabbitmq-server/1': rabbit('10.0.0.10') });
  await unit.hook('amqp-relation-departed', {
    JUJU_RELATION_ID: 'amqp:1',
    JUJU_DEPARTING_UNIT: 'rabbitmq-server/0',
  });
  assert.equal(
    addresses(unit).map(({ host }) => host),
    ['10.0.0.10'],
  );
});

test('amqp: certificates that are none block the unit', async () => {
  await using unit = makeQuickUnit();
  await relate(unit, 'amqp:1', { 'rabbitmq-server/0': { ...rabbit(), ssl_port: '5671', ssl_ca: 'bm9uZQ==' } });
  assert.is(unit.model.status.name, 'blocked');
  assert.match(unit.model.status.message, 'ssl_ca');
});

test('amqp: the option rabbit-port takes another port, with TLS and without, and a wrong one blocks the unit', async () => {
  await using unit = makeQuickUnit();
  const { model } = unit;
  await start(unit);
  const given: readonly [number, Data, string][] = [
    [5673, {}, 'amqp://10.0.0.9:5673/imagebuilder'],
    [0, {}, 'amqp://10.0.0.9:5672/imagebuilder'],
    [0, { ssl_port: '5679' }, 'amqps://10.0.0.9:5679/imagebuilder'],
    [5673, { ssl_port: '5679' }, 'amqps://10.0.0.9:5673/imagebuilder'],
  ];
  for (const [port, data, where] of given) {
    model.options['rabbit-port'] = port;
    model.relations.get('amqp:1')?.units.set('rabbitmq-server/0', { ...rabbit(), ...data });
    await unit.hook('config-changed');
    assert.equal(
      addresses(unit).map((one) => one.where),
      [where],
    );
  }
  for (const port of [-1, 65_536]) {
    model.options['rabbit-port'] = port;
    await unit.hook('config-changed');
    assert.match(model.status.message, 'Option rabbit-port must be from 0 to 65535');
    assert.not.ok(unit.machine.active);
  }
});

test('amqp: one unit with TLS keeps the password from those without; every authority is trusted', async () => {
  await using unit = makeQuickUnit();
  const other = certificate.replace('AA==', 'AB==');
  const tls = (text: string) => ({ ssl_port: '5671', ssl_ca: Buffer.from(text).toString('base64') });
  await relate(unit, 'amqp:1', {
    'rabbitmq-server/0': rabbit('10.0.0.9'),
    'rabbitmq-server/1': { ...rabbit('10.0.0.10'), ...tls(certificate) },
    'rabbitmq-server/2': { ...rabbit('10.0.0.11,10.0.0.12'), ...tls(other) },
  });
  assert.equal(
    addresses(unit).map(({ tls, host }) => [tls, host]),
    ['10.0.0.10', '10.0.0.11', '10.0.0.12'].map((host) => [true, host]),
  );
  const trusted = secretOf(unit, 'imagebuilder-amqp-ca');
  assert.match(trusted, 'AA==');
  assert.match(trusted, 'AB==');
});

test('identity-credentials: the authority of keystone is trusted beside those of the operator', async () => {
  await using unit = makeQuickUnit();
  const path = '/etc/imagebuilder/ca-certificates.pem';
  unit.model.options['ca-certificates'] = certificate;
  await start(unit);
  const ca = Buffer.from(certificate.replace('AA==', 'AB==')).toString('base64');
  await relate(unit, 'identity-credentials:2', { 'keystone/0': { ...keystone, ca_cert: ca } });
  assert.is(unit.machine.starts.at(-1)?.environment.IMAGEBUILDER_CA_FILE, path);
  assert.match(readFileSync(unit.path(path), 'utf8'), /AA==[\s\S]*AB==/);
  await breakRelation(unit, 'identity-credentials:2');
  assert.is(readFileSync(unit.path(path), 'utf8'), certificate);
});

test('identity-credentials: images go to OpenStack with the user of keystone, and to the storage without', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  await start(unit);
  await relate(unit, 'identity-credentials:2', {});
  assert.equal(model.relations.get('identity-credentials:2')?.local, {
    username: 'imagebuilder',
    requested_roles: 'member',
    requested_grants: 'member',
  });
  assert.is(model.status.name, 'waiting');
  assert.match(model.status.message, 'Waiting for keystone');
  assert.not.ok(machine.active);

  model.relations.get('identity-credentials:2')?.units.set('keystone/0', keystone);
  await unit.hook('identity-credentials-relation-changed', { JUJU_RELATION_ID: 'identity-credentials:2' });
  assert.is(model.status.name, 'active');
  const environment = machine.starts.at(-1)?.environment ?? {};
  assert.is(environment.OS_AUTH_URL, 'https://keystone.example:5000/v3');
  assert.is(secretOf(unit, 'openstack-password'), 'keystone-password');
  const read = await readOpenStackConfiguration({
    ...{ environment, clouds: null, password: 'keystone-password', applicationCredentialSecret: null },
  });
  assert.ok(read !== null, 'the program understands these variables');
  assert.ok(loadConfig({ ...environment, IMAGEBUILDER_CA_FILE: '' }), 'and all settings');

  model.options['openstack-roles'] = 'member, reader';
  model.options['openstack-project'] = 'images';
  await unit.hook('config-changed');
  assert.equal(model.relations.get('identity-credentials:2')?.local, {
    ...{ username: 'imagebuilder', project: 'images', requested_roles: 'member,reader' },
    requested_grants: 'member,reader',
  });

  await breakRelation(unit, 'identity-credentials:2');
  assert.is(model.status.name, 'active');
  assert.is(machine.starts.at(-1)?.environment.OS_AUTH_URL, undefined);
  assert.not.ok(existsSync(unit.path('/etc/imagebuilder/secrets/openstack-password')));
});

test('identity-credentials: keystone is never asked for a user without roles, who would be an administrator', async () => {
  await using unit = makeQuickUnit();
  const { model } = unit;
  model.options['openstack-roles'] = ' , ';
  await start(unit);
  await relate(unit, 'identity-credentials:2', { 'keystone/0': keystone });
  assert.is(model.status.name, 'blocked');
  assert.match(model.status.message, 'juju config imagebuilder openstack-roles=member');
  assert.equal(model.relations.get('identity-credentials:2')?.local, {});
});

test('identity-credentials: version 2 of keystone’s API blocks the unit', async () => {
  await using unit = makeQuickUnit();
  await start(unit);
  await relate(unit, 'identity-credentials:2', { 'keystone/0': { ...keystone, api_version: '2.0' } });
  assert.is(unit.model.status.name, 'blocked');
  assert.match(unit.model.status.message, 'preferred-api-version=3');
});

for (const { id, remote, early, ready } of [
  {
    id: 'image-service:5',
    remote: 'glance/0',
    early: { 'glance-api-server': 'http://10.0.0.30:9292', 'glance-api-ready': 'no' },
    ready: { 'glance-api-server': 'http://10.0.0.30:9292', 'glance-api-ready': 'yes' },
  },
  { id: 'object-store:6', remote: 'swift-proxy/0', early: {}, ready: { 'swift-url': 'http://10.0.0.40:8080' } },
]) {
  const [endpoint = ''] = id.split(':');
  test(`${endpoint}: the unit needs keystone, waits until the store is ready, and forgets it`, async () => {
    await using unit = makeQuickUnit();
    const { model } = unit;
    await start(unit);
    await relate(unit, id, { [remote]: early });
    assert.match(model.status.message, 'Missing relation identity-credentials: juju integrate imagebuilder keystone');
    await relate(unit, 'identity-credentials:2', { 'keystone/0': keystone });
    assert.is(model.status.name, 'waiting');
    assert.match(model.status.message, endpoint);
    model.relations.get(id)?.units.set(remote, ready);
    await unit.hook(`${endpoint}-relation-changed`, { JUJU_RELATION_ID: id });
    assert.is(model.status.name, 'active');
    model.relations.get(id)?.units.set(remote, early);
    await unit.hook(`${endpoint}-relation-changed`, { JUJU_RELATION_ID: id });
    assert.not.ok(unit.machine.active);
    await breakRelation(unit, id);
    assert.is(model.status.name, 'active');
  });
}

test.run();
