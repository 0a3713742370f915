import { existsSync, readFileSync, statSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { secretFiles } from '#lib/config/secrets.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { start } from './samples.ts';

/** Options of the type secret. */

const token = 'token-of-the-operator-0123456789';

test('a secret that was not granted blocks the unit, and the service does not run without it', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  await start(unit);
  model.secrets.set('secret:abc', { content: { token }, granted: false });
  model.options.token = 'secret:abc';
  await unit.hook('config-changed');
  assert.is(model.status.name, 'blocked');
  assert.match(model.status.message, 'option token cannot be read: juju grant-secret secret:abc imagebuilder');
  assert.not.ok(machine.active, 'the API would be open to everybody');
  model.secrets.set('secret:abc', { content: { token }, granted: true });
  await unit.hook('update-status');
  assert.is(model.status.name, 'active');
  assert.is(machine.starts.at(-1)?.secrets['imagebuilder-token'], token);
  assert.equal(machine.authorizations.at(-1), `Bearer ${token}`);
});

test('a secret that the operator has removed, or that never was, blocks the unit', async () => {
  await using unit = makeQuickUnit();
  unit.model.options['provenance-signing-key'] = 'secret:none';
  await start(unit);
  assert.is(unit.model.status.name, 'blocked');
  assert.match(unit.model.status.message, 'option provenance-signing-key cannot be read');
});

test('a secret is read without the line break of the file that it was made of', async () => {
  await using unit = makeQuickUnit();
  const { model } = unit;
  model.secrets.set('secret:abc', { content: { token: `${token}\n` }, granted: true });
  model.options.token = 'secret:abc';
  model.relations.set('image-builder:3', { units: new Map([['lander/0', {}]]), local: {} });
  await start(unit);
  assert.equal(
    [...model.ownSecrets.values()].map(({ content }) => content),
    [{ token }],
  );
});

test('a controller that does not answer fails the hook: the service keeps its secrets', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  model.secrets.set('secret:abc', { content: { token }, granted: true });
  model.options.token = 'secret:abc';
  await start(unit);
  model.failing.add('secret-get');
  const { exitCode, errors } = await unit.tryHook('update-status');
  assert.is.not(exitCode, 0);
  assert.match(errors, 'connection is shut down');
  assert.ok(machine.active);
  assert.is(machine.starts.length, 1);
  model.failing.clear();
  await unit.hook('update-status');
  assert.is(model.status.name, 'active');
});

for (const [title, content] of [
  ['no key', {}],
  ['two keys', { one: 'first-value', other: 'second-value' }],
  ['an empty value', { token: ' \n' }],
] as const) {
  test(`a secret with ${title} blocks the unit`, async () => {
    await using unit = makeQuickUnit();
    unit.model.secrets.set('secret:abc', { content: { ...content }, granted: true });
    unit.model.options.token = 'secret:abc';
    await start(unit);
    assert.is(unit.model.status.name, 'blocked');
    assert.match(unit.model.status.message, 'The secret of option token must have one key with a value');
  });
}

test('callers with tokens of their own: the charm calls with a token of its own, which stays and goes', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  const text = 'callers:\n  - name: lander\n    role: submit\n    token: token-of-the-lander-0123456789-0123456789\n';
  model.secrets.set('secret:abc', { content: { tokens: text }, granted: true });
  model.options.tokens = 'secret:abc';
  model.relations.set('image-builder:3', { units: new Map([['lander/0', {}]]), local: {} });
  await start(unit);
  const secrets = machine.starts.at(-1)?.secrets ?? {};
  assert.is(secrets['imagebuilder-tokens'], text.trim());
  const own = secrets['imagebuilder-token'] ?? '';
  assert.match(own, /^[0-9a-f]{64}$/);
  assert.is(machine.authorizations.at(-1), `Bearer ${own}`);
  assert.is(statSync(unit.path('/etc/imagebuilder/own-token')).mode & 0o777, 0o600);
  assert.is(model.ownSecrets.size, 0, 'the token of the charm is for nobody else');
  await unit.hook('config-changed');
  assert.is(machine.starts.length, 1);
  for (const [path, content] of Object.entries(unit.files())) {
    if (content.includes(own)) assert.match(path, /own-token$|secrets\/imagebuilder-token$/);
  }
  assert.not.ok(unit.calls.some(({ words }) => words.some((word) => word.includes(own))));
  model.options.tokens = '';
  await unit.hook('config-changed');
  assert.not.ok(existsSync(unit.path('/etc/imagebuilder/own-token')));
  assert.not.ok(existsSync(unit.path('/etc/imagebuilder/secrets/imagebuilder-token')));
});

test('every secret of the program that no relation brings is an option', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  const notOptions = ['imagebuilder-amqp-url', 'imagebuilder-amqp-ca'];
  const inClouds = ['openstack-password', 'openstack-application-credential-secret'];
  const files = Object.values(secretFiles).map(({ file }) => file as string);
  const wanted = files.filter((file) => ![...notOptions, ...inClouds].includes(file));
  for (const file of wanted) {
    model.secrets.set(`secret:${file}`, { content: { value: `text of ${file}` }, granted: true });
    model.options[file.replace('imagebuilder-', '')] = `secret:${file}`;
  }
  await start(unit);
  const secrets = machine.starts.at(-1)?.secrets ?? {};
  for (const file of wanted) assert.is(secrets[file], `text of ${file}`);
});

test('headers for spans are a secret, and stand in the settings, which only root reads', async () => {
  await using unit = makeQuickUnit();
  const { model, machine } = unit;
  model.secrets.set('secret:abc', { content: { headers: 'authorization=Bearer%20span-secret' }, granted: true });
  model.options['otel-exporter-otlp-headers'] = 'secret:abc';
  await start(unit);
  assert.is(machine.starts[0]?.environment.OTEL_EXPORTER_OTLP_HEADERS, 'authorization=Bearer%20span-secret');
  assert.is(statSync(unit.path('/etc/imagebuilder/environment')).mode & 0o777, 0o600);
  assert.match(readFileSync(unit.path('/etc/imagebuilder/environment'), 'utf8'), 'juju config');
});

test.run();
