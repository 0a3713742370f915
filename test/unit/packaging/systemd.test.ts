import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { installation } from '../../../packaging/installation.ts';

/** The files for systemd; test/long/packages.test.ts has systemd read them. */

const root = join(import.meta.dirname, '../../..');

const trees = { '/usr': await installation(root, '/usr'), '/usr/local': await installation(root, '/usr/local') };

function fileOf(prefix: keyof typeof trees, path: string): string {
  const entry = trees[prefix].get(path);
  if (entry === undefined || !('content' in entry)) throw new Error(`there is no ${path}`);
  return String(entry.content);
}

for (const prefix of ['/usr', '/usr/local'] as const) {
  test(`the unit for ${prefix} starts the program of ${prefix}, and no placeholder is left`, () => {
    const unit = fileOf(prefix, 'lib/systemd/system/imagebuilder.service');
    assert.match(unit, `\nExecStart=${prefix}/lib/imagebuilder/bin/imagebuilder serve `);
    const dropIn = fileOf(prefix, 'lib/imagebuilder/host-guest.conf');
    const folders = fileOf(prefix, 'lib/tmpfiles.d/imagebuilder.conf');
    for (const text of [unit, dropIn, folders]) assert.not.match(text, '@PREFIX@');
  });
}

test('the worker has time to hand its build back before systemd kills what is left', () => {
  const unit = fileOf('/usr', 'lib/systemd/system/imagebuilder.service');
  const grace = Number(/ --grace ([0-9]+)\n/.exec(unit)?.[1]);
  const limit = Number(/^TimeoutStopSec=([0-9]+)$/m.exec(unit)?.[1]);
  assert.ok(grace > 0 && grace + 10 < limit, `${grace} and ${limit}`);
});

test('the drop-in takes back every restriction that the host guest cannot have, and asks for that guest', () => {
  const dropIn = fileOf('/usr', 'lib/imagebuilder/host-guest.conf');
  const settings = new Map([...dropIn.matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]));
  const [, value = ''] = settings.get('Environment')?.split('=') ?? [];
  assert.is(loadConfig({ IMAGEBUILDER_GUEST: value }).guest.guest, 'host');
  assert.is(settings.get('User'), 'root');
  // An empty list of devices and of system calls is no restriction; `~` stands for all capabilities.
  for (const name of ['DeviceAllow', 'SystemCallFilter']) assert.is(settings.get(name), '', name);
  assert.is(settings.get('CapabilityBoundingSet'), '~');
  for (const name of ['NoNewPrivileges', 'RestrictNamespaces', 'ProtectKernelTunables', 'RestrictSUIDSGID']) {
    assert.is(settings.get(name), 'no', name);
  }
});

test('every file and setting that the units name is one of the installation', async () => {
  const unit = await readFile(join(root, 'packaging/systemd/imagebuilder.service'), 'utf8');
  for (const [, path = ''] of unit.matchAll(/@PREFIX@\/(\S+)/g)) assert.ok(trees['/usr'].has(path), path);
});

test.run();
