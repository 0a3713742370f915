import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeQuickUnit } from './quick-unit.ts';
import { rabbit, start } from './samples.ts';
import { makeUnit } from './unit.ts';

/** The program, its packages, its settings and its storage on the machine. */

test('packages that apt cannot install block the unit, and are tried again at each hook', async () => {
  await using unit = await makeUnit();
  const { model, machine } = unit;
  machine.aptFault = 'E: Unable to locate package crun';
  await start(unit);
  assert.is(model.status.name, 'blocked');
  assert.match(model.status.message, 'Unable to locate package crun');
  assert.equal(machine.starts, []);
  machine.aptFault = null;
  await unit.hook('update-status');
  assert.is(model.status.name, 'active');
  assert.is(machine.installed.length, 1);
  const words = machine.installed[0] ?? '';
  for (const name of ['qemu-utils', 'crun', 'linux-image-virtual']) assert.match(words, name);
});

test('packages of an upgrade that apt cannot install leave the service running, with the settings of now', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  await start(unit);
  writeFileSync(unit.path('/opt/imagebuilder/packages'), 'those of the version before');
  machine.aptFault = 'E: Unable to locate package crun';
  model.relations.get('amqp:1')?.units.set('rabbitmq-server/0', rabbit('10.0.0.9', 'second-password'));
  await unit.hook('upgrade-charm');
  assert.is(model.status.name, 'blocked');
  assert.match(model.status.message, 'Unable to locate package crun');
  assert.ok(machine.active);
  assert.match(machine.starts.at(-1)?.secrets['imagebuilder-amqp-url'] ?? '', 'second-password');
});

test('apt is not asked again for the kernel that it has installed', async () => {
  await using unit = makeQuickUnit();
  await start(unit);
  mkdirSync(unit.path('/boot'));
  writeFileSync(unit.path('/boot/vmlinuz-6.8.0-1-virtual'), '');
  await unit.hook('update-status');
  assert.is(unit.machine.installed.length, 1);
});

test('a machine with a kernel gets no other', async () => {
  await using unit = makeQuickUnit();
  mkdirSync(unit.path('/boot'));
  writeFileSync(unit.path('/boot/vmlinuz-6.8.0-1-aws'), '');
  await start(unit);
  assert.not.match(unit.machine.installed[0] ?? '', 'linux-image');
});

test('an upgrade installs the new program beside the old one, restarts the service, and deletes the old one', async () => {
  await using unit = makeQuickUnit();
  const { model, machine, charm } = unit;
  await start(unit);
  const before = readlinkSync(unit.path('/opt/imagebuilder/current'));
  writeFileSync(join(charm, 'program/lib/imagebuilder/package.json'), '{ "version": "2.0.0" }');
  await unit.hook('upgrade-charm');
  const after = readlinkSync(unit.path('/opt/imagebuilder/current'));
  assert.is.not(after, before);
  assert.is(model.version, '2.0.0');
  assert.is(machine.starts.length, 2);
  assert.not.ok(existsSync(unit.path(`/opt/imagebuilder/${before}`)));
  assert.ok(existsSync(unit.path(`/opt/imagebuilder/${after}/lib/imagebuilder/node_modules/.bin/node`)));
});

test('a program whose installation was interrupted is installed anew', async () => {
  await using unit = makeQuickUnit();
  await start(unit);
  const name = readlinkSync(unit.path('/opt/imagebuilder/current'));
  const folder = unit.path(`/opt/imagebuilder/${name}`);
  rmSync(join(folder, '.complete'));
  rmSync(join(folder, 'lib/imagebuilder/package.json'));
  await unit.hook('update-status');
  assert.ok(existsSync(join(folder, '.complete')));
  assert.match(readFileSync(join(folder, 'lib/imagebuilder/package.json'), 'utf8'), '1.2.3');
});

test('the host guest has its drop-in, and another guest none', async () => {
  await using unit = makeQuickUnit();
  const { model } = unit;
  const dropIn = '/etc/systemd/system/imagebuilder.service.d/host-guest.conf';
  model.options.guest = 'host';
  await start(unit);
  assert.is(readlinkSync(unit.path(dropIn)), '/opt/imagebuilder/current/lib/imagebuilder/host-guest.conf');
  assert.is(unit.machine.starts[0]?.environment.IMAGEBUILDER_GUEST, 'host');
  model.options.guest = 'auto';
  await unit.hook('config-changed');
  assert.equal(readdirSync(unit.path('/etc/systemd/system/imagebuilder.service.d')), []);
  assert.is(unit.machine.starts.length, 2);
});

test('options arrive as the settings of the program, whatever characters they have', async () => {
  await using unit = makeQuickUnit();
  const { model } = unit;
  const odd = 'a "b" $HOME `c` \\ d\ne';
  model.options['glance-properties'] = odd;
  model.options.lease = 120;
  model.options['boot-check'] = true;
  model.options['ca-certificates'] = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----';
  await start(unit);
  const environment = unit.machine.starts[0]?.environment ?? {};
  assert.is(environment.IMAGEBUILDER_GLANCE_PROPERTIES, odd);
  assert.is(environment.IMAGEBUILDER_LEASE, '120');
  assert.is(environment.IMAGEBUILDER_BOOT_CHECK, 'true');
  assert.is(environment.IMAGEBUILDER_CA_FILE, '/etc/imagebuilder/ca-certificates.pem');
  assert.match(readFileSync(unit.path('/etc/imagebuilder/ca-certificates.pem'), 'utf8'), 'BEGIN CERTIFICATE');
});

test('a storage that is detached stops the service before, and its data lies on the root disk after', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  model.storages.add('data/0');
  await unit.hook('data-storage-attached', { JUJU_STORAGE_ID: 'data/0' });
  await start(unit);
  await unit.hook('data-storage-detaching', { JUJU_STORAGE_ID: 'data/0' });
  assert.not.ok(machine.active);
  assert.equal(model.status, { name: 'waiting', message: 'The storage data/0 is being detached' });
  model.storages.clear();
  await unit.hook('update-status');
  assert.is(model.status.name, 'active');
  assert.is(machine.starts.length, 2);
});

test('a storage that is attached later restarts the service on it', async () => {
  await using unit = makeQuickUnit();
  await start(unit);
  unit.model.storages.add('data/0');
  await unit.hook('data-storage-attached', { JUJU_STORAGE_ID: 'data/0' });
  assert.is(unit.machine.starts.length, 2);
});

test.run();
