import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import type { Launch } from '../unit/charm/machine.ts';
import { makeQuickUnit } from '../unit/charm/quick-unit.ts';
import type { Unit } from '../unit/charm/unit.ts';

/** The status of a unit whose service is the real one, with a real RabbitMQ: what is missing, in the program's own words. */

const command = join(import.meta.dirname, '../../bin/imagebuilder');
const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-charm-status-'));
const usualPassword = 'password-of-the-user';
const data = join(directory, 'data');
await mkdir(data);
test.after(() => rm(directory, { recursive: true, force: true }));

/** `imagebuilder serve` with the settings and secrets that the charm has written, as its unit starts it. */
const launch: Launch = ({ environment, secrets }, say) => {
  const folders = ['work', 'cache', 'store'].map((name) => [
    `IMAGEBUILDER_${name.toUpperCase()}_DIRECTORY`,
    join(data, name),
  ]);
  const secretsFolder = join(directory, 'secrets');
  rmSync(secretsFolder, { recursive: true, force: true });
  mkdirSync(secretsFolder);
  for (const [name, text] of Object.entries(secrets)) writeFileSync(join(secretsFolder, name), text);
  const env = { ...environment, ...Object.fromEntries(folders), IMAGEBUILDER_SECRETS_DIRECTORY: secretsFolder };
  const child = execa(command, ['serve'], { env, reject: false, forceKillAfterDelay: false });
  let isAlive = true;
  void child.then(() => {
    isAlive = false;
  });
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', say);
  return {
    isActive: () => isAlive,
    stop: async () => {
      child.kill('SIGTERM');
      await child;
    },
  };
};

async function relate(unit: Unit, { port }: RabbitMq, password = usualPassword): Promise<void> {
  unit.model.options['rabbit-port'] = port;
  const units = new Map([['rabbitmq-server/0', { hostname: '127.0.0.1', password }]]);
  unit.model.relations.set('amqp:1', { units, local: unit.model.relations.get('amqp:1')?.local ?? {} });
  await unit.machine.stop();
  await unit.hook('amqp-relation-changed', { JUJU_RELATION_ID: 'amqp:1' });
}

/** Runs the hook that Juju runs every five minutes until the status is one like this. */
async function untilStatus(unit: Unit, pattern: RegExp): Promise<void> {
  const status = () => `${unit.model.status.name}: ${unit.model.status.message}`;
  const until = Date.now() + 90_000;
  while (!pattern.test(status()) && Date.now() < until) {
    // Work that is on its way: the worker looks at once whether it can build.
    await fetch(`http://127.0.0.1:${unit.port}/async-function/build-worker`, { method: 'POST' }).catch(() => {});
    await sleep(500);
    await unit.hook('update-status');
  }
  assert.match(status(), pattern);
}

test('a RabbitMQ that is away or refuses the user, a disk without room and a wrong setting are told by the status', async () => {
  await using rabbitMq = await startRabbitMq();
  await rabbitMq.control(['add_vhost', 'imagebuilder']);
  await rabbitMq.control(['add_user', 'imagebuilder', usualPassword]);
  await rabbitMq.control(['set_permissions', '--vhost', 'imagebuilder', 'imagebuilder', '.*', '.*', '.*']);
  await exec('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'none', data]);
  try {
    await using unit = makeQuickUnit(launch);
    Object.assign(unit.model.options, { guest: 'host', 'disk-reserve': '16M' });
    await relate(unit, rabbitMq);
    await untilStatus(unit, /^active: Ready/);

    await exec('fallocate', ['--length', '60M', join(data, 'filler')]);
    await untilStatus(unit, /^waiting: work folder: .* free, and builds need 16\.0 MiB/);
    await rm(join(data, 'filler'));
    await untilStatus(unit, /^active: Ready/);

    await relate(unit, rabbitMq, 'another-password');
    await untilStatus(unit, /^waiting: RabbitMQ: .*refuses the user or the password/);

    unit.model.options['log-level'] = 'loud';
    await relate(unit, rabbitMq);
    await untilStatus(unit, /^blocked: Image Builder does not start: .*IMAGEBUILDER_LOG_LEVEL/);

    unit.model.options['log-level'] = 'info';
    await rabbitMq.stop();
    await relate(unit, rabbitMq);
    await untilStatus(unit, /^waiting: RabbitMQ: .*nothing listens on port/);
  } finally {
    await exec('umount', [data]);
  }
});

test.run();
