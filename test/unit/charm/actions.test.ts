import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleImage } from '#lib/api/image-result.ts';
import { type BuildStatus, exampleBuild } from '#lib/api/status.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { breakRelation, start } from './samples.ts';
import type { Answer, Call } from './tool-client.ts';
import { makeUnit, type Unit } from './unit.ts';

/** The actions of the charm. The command that they run is answered here; its own tests run it. `build` follows a real process. */

const id = '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55';
const answers = (unit: Unit, answer: Partial<Answer>): Call[] => {
  const calls: Call[] = [];
  unit.machine.command = (call) => {
    calls.push(call);
    return { exitCode: 0, stdout: '', stderr: '', ...answer };
  };
  return calls;
};
const only = (calls: readonly Call[]): Call => {
  const [call] = calls;
  if (call === undefined) throw new Error('the command was not called');
  return call;
};
const lines = (...values: unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join('');

test('pause stops the service, no hook starts it, and resume does', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  await start(unit);
  await unit.action('pause');
  assert.is(model.failure, null);
  assert.not.ok(machine.active || machine.enabled);
  for (const name of ['update-status', 'config-changed', 'upgrade-charm', 'amqp-relation-changed', 'start']) {
    await unit.hook(name, name.startsWith('amqp') ? { JUJU_RELATION_ID: 'amqp:1' } : {});
    assert.not.ok(machine.active, name);
    assert.equal(model.status, { name: 'maintenance', message: 'Paused: juju run imagebuilder/0 resume' });
    assert.equal([...model.ports], []);
  }
  await unit.action('pause');
  await unit.action('resume');
  assert.ok(machine.active && machine.enabled);
  assert.is(model.status.name, 'active');
});

for (const action of ['status', 'build', 'cancel']) {
  const parameters = { 'build-id': id, series: 'noble', 'image-url': 'http://images.example/a.img' };
  test(`${action} of a unit that is paused, blocked or stopped fails with the reason, and calls nothing`, async () => {
    await using unit = makeQuickUnit();
    const { model, machine } = unit;
    const calls = answers(unit, {});
    await start(unit);
    await unit.action('pause');
    await unit.action(action, parameters);
    assert.is(model.failure, 'The unit is paused: juju run imagebuilder/0 resume');
    await unit.action('resume');
    await machine.stop();
    await unit.action(action, parameters);
    assert.match(model.failure ?? '', 'imagebuilder.service does not run');
    await breakRelation(unit, 'amqp:1');
    await unit.action(action, parameters);
    assert.match(model.failure ?? '', 'juju integrate imagebuilder rabbitmq-server');
    assert.equal(calls, []);
    assert.equal(model.results, {});
  });
}

test('status reports what the command says, also of a service that is degraded', async () => {
  await using unit = makeQuickUnit();
  const { model, port } = unit;
  await start(unit);
  const calls = answers(unit, { exitCode: 1, stdout: 'degraded: RabbitMQ is out of reach\n' });
  await unit.action('status', { 'ticket-id': '--json' });
  assert.is(model.failure, null);
  assert.equal(model.results, { report: 'degraded: RabbitMQ is out of reach' });
  const { words, environment } = only(calls);
  assert.equal(words.slice(0, 3), ['-u', 'imagebuilder', '--']);
  assert.equal(words.slice(4), ['status', '--ticket-id=--json']);
  assert.is(environment.IMAGEBUILDER_URL, `http://127.0.0.1:${port}`);
});

test('a report that no argument could hold is cut off', async () => {
  await using unit = makeQuickUnit();
  await start(unit);
  answers(unit, { stdout: 'ü'.repeat(300_000) });
  await unit.action('status');
  assert.is(unit.model.failure, null);
  assert.match(unit.model.results.report ?? '', /^ü+\n… \(cut off\)$/);
});

test('build submits its parameters on standard input, follows the build, and answers with its image', async () => {
  await using unit = await makeUnit();
  const { model } = unit;
  model.secrets.set('secret:t', { content: { token: 'token-of-the-operator-0123456789' }, granted: true });
  model.options.token = 'secret:t';
  await start(unit);
  const running: BuildStatus = { ...exampleBuild, state: 'running', step: 'install' };
  const image = { ...exampleImage, download_url: 'https://swift.example/a?temp_url_sig=url-signature' };
  const calls = answers(unit, { stdout: lines(running, { ...running, state: 'completed', step: null, image }) });
  await unit.action('build', {
    ...{ series: 'noble', 'image-url': 'http://user:url-password@images.example/a.img', 'image-type': 'cloud' },
    ...{ packages: ['hello'], ppas: ['ppa:owner/name'], 'ticket-id': 'T-1', wait: true },
  });
  assert.is(model.failure, null);
  assert.is(model.results['build-id'], id);
  assert.is(model.results.state, 'completed');
  assert.is(model.results.location, exampleImage.location);
  assert.is(model.results['image-id'], exampleImage.id);
  assert.not.match(model.results.build ?? '', 'url-signature');
  assert.equal(model.log, [`${id} running install`, `${id} completed`]);
  const { words, input, environment } = only(calls);
  assert.equal(words.slice(4), ['build', '--json', '--request', '-']);
  assert.equal(JSON.parse(input), {
    ticket_id: 'T-1',
    base_image: { image_type: 'cloud', url_list: ['http://user:url-password@images.example/a.img'], series: 'noble' },
    ppa_list: ['ppa:owner/name'],
    package_list: ['hello'],
    progress_trigger: 'imagebuilder-action',
  });
  assert.is(environment.IMAGEBUILDER_TOKEN_FILE, unit.path('/etc/imagebuilder/secrets/imagebuilder-token'));
});

test('build with a whole request hands it on, and without waiting answers with the id', async () => {
  await using unit = await makeUnit();
  await start(unit);
  const calls = answers(unit, { stdout: lines({ building: true, build_id: id, ticket_id: 'T-1' }) });
  await unit.action('build', { request: '{"ticket_id":"T-1"}', wait: false, 'image-type': 'cloud' });
  assert.is(unit.model.failure, null);
  assert.is(unit.model.results['build-id'], id);
  assert.is(calls[0]?.input, '{"ticket_id":"T-1"}');
  assert.equal(calls[0]?.words.slice(4), ['build', '--json', '--request', '-', '--no-follow']);
});

test('a build that fails makes the action fail with the reason', async () => {
  await using unit = await makeUnit();
  await start(unit);
  const error = { code: 'packages.missing', message: 'the package hallo is in no archive' };
  answers(unit, { exitCode: 1, stdout: lines({ build_id: id, state: 'failed', error }) });
  await unit.action('build', { series: 'noble', 'image-url': 'http://images.example/a.img' });
  assert.is(unit.model.failure, error.message);
  assert.is(unit.model.results.state, 'failed');
});

for (const [title, parameters, reason] of [
  ['nothing', {}, 'series and image-url must be given'],
  ['no URL', { series: 'noble' }, 'image-url must be given'],
  ['a whole request beside parts', { request: '{}', series: 'noble' }, 'leave out series'],
] as const) {
  test(`build with ${title} fails with the reason`, async () => {
    await using unit = makeQuickUnit();
    await start(unit);
    const calls = answers(unit, {});
    await unit.action('build', parameters);
    assert.match(unit.model.failure ?? '', reason);
    assert.equal(calls, []);
  });
}

test('a request that the service refuses makes the action fail with all its faults', async () => {
  await using unit = await makeUnit();
  await start(unit);
  answers(unit, { exitCode: 2, stderr: 'imagebuilder: the request has faults:\n  $.package_list[0] must be a name\n' });
  await unit.action('build', { request: '{}' });
  assert.match(unit.model.failure ?? '', '$.package_list[0] must be a name');
});

test('cancel cancels, and an id that is an option is none', async () => {
  await using unit = makeQuickUnit();
  await start(unit);
  const calls = answers(unit, {});
  await unit.action('cancel', { 'build-id': '--help' });
  assert.equal(calls[0]?.words.slice(4), ['cancel', '--', '--help']);
  assert.is(unit.model.failure, null);
});

for (const [action, words] of [
  ['doctor', ['doctor']],
  ['store-check', ['store', 'check']],
] as const) {
  test(`${action} reports also where the unit is blocked, and fails where a check does`, async () => {
    await using unit = makeQuickUnit();
    const { model } = unit;
    await unit.action(action);
    assert.match(model.failure ?? '', 'Image Builder is not installed: see juju status imagebuilder/0');
    await unit.hook('install');
    const calls = answers(unit, { stdout: 'ok    system\n' });
    await unit.action(action);
    assert.is(model.failure, null);
    assert.equal(model.results, { report: 'ok    system' });
    assert.equal(calls[0]?.words.slice(4), words);
    assert.is(calls[0]?.environment.IMAGEBUILDER_WORKER_NAME, 'imagebuilder-0');
    answers(unit, { exitCode: 1, stdout: 'FAIL  work folder\n' });
    await unit.action(action);
    assert.match(model.failure ?? '', 'see the report');
    assert.equal(model.results, { report: 'FAIL  work folder' });
  });
}

test('clean-cache empties the caches while the service is stopped, and keeps images', async () => {
  await using unit = makeQuickUnit();
  const { machine } = unit;
  await start(unit);
  for (const folder of ['cache/images', 'store']) {
    mkdirSync(unit.path(`/var/lib/imagebuilder/${folder}`), { recursive: true });
    writeFileSync(unit.path(`/var/lib/imagebuilder/${folder}/a`), 'x');
  }
  await unit.action('clean-cache');
  assert.is(unit.model.failure, null);
  assert.not.ok(existsSync(unit.path('/var/lib/imagebuilder/cache/images')));
  assert.ok(existsSync(unit.path('/var/lib/imagebuilder/store/a')));
  assert.is(machine.starts.length, 2);
  assert.ok(machine.active);
});

test.run();
