import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { breakRelation, relate, start } from './samples.ts';

/** The relations by which others use the unit. */

test('image-builder: callers get the address, and with a token a secret that is rotated with it', async () => {
  await using unit = makeQuickUnit();
  const { model, port } = unit;
  await relate(unit, 'image-builder:3', { 'lander/0': {} });
  const local = () => model.relations.get('image-builder:3')?.local ?? {};
  assert.equal(local(), {}, 'a unit that is blocked takes no calls');
  await start(unit);
  const address = { hostname: '10.0.0.5', port: String(port), 'base-path': '/api/v1' };
  assert.equal(local(), address);

  model.secrets.set('secret:t', { content: { token: 'first-token-0123456789-0123456789' }, granted: true });
  model.options.token = 'secret:t';
  await unit.hook('config-changed');
  const [[id, secret] = ['', undefined]] = [...model.ownSecrets];
  assert.equal(local(), { ...address, 'token-secret-id': id });
  assert.equal(secret?.content, { token: 'first-token-0123456789-0123456789' });
  assert.equal([...(secret?.grants ?? [])], ['image-builder:3']);

  model.secrets.set('secret:t', { content: { token: 'second-token-0123456789-012345678' }, granted: true });
  await unit.hook('secret-changed', { JUJU_SECRET_ID: 'secret:t' });
  assert.equal(model.ownSecrets.get(id)?.content, { token: 'second-token-0123456789-012345678' });
  assert.is(model.ownSecrets.get(id)?.revision, 2);
  assert.is(unit.machine.starts.at(-1)?.secrets['imagebuilder-token'], 'second-token-0123456789-012345678');

  await relate(unit, 'image-builder:9', { 'other-lander/0': {} });
  assert.equal([...(model.ownSecrets.get(id)?.grants ?? [])], ['image-builder:3', 'image-builder:9']);

  await breakRelation(unit, 'image-builder:9');
  await breakRelation(unit, 'image-builder:3');
  assert.is(model.ownSecrets.size, 0);
});

test('image-builder: a token that is taken away takes the secret away', async () => {
  await using unit = makeQuickUnit();
  const { model } = unit;
  model.secrets.set('secret:t', { content: { token: 'first-token-0123456789-0123456789' }, granted: true });
  model.options.token = 'secret:t';
  await relate(unit, 'image-builder:3', { 'lander/0': {} });
  await start(unit);
  assert.is(model.ownSecrets.size, 1);
  model.options.token = '';
  await unit.hook('config-changed');
  assert.is(model.ownSecrets.size, 0);
  assert.is(model.relations.get('image-builder:3')?.local['token-secret-id'], undefined);
});

test('image-builder: a unit with an address of IPv6 listens there', async () => {
  await using unit = makeQuickUnit();
  unit.model.address = 'fd00::5';
  await relate(unit, 'image-builder:3', { 'lander/0': {} });
  await start(unit);
  assert.is(unit.model.relations.get('image-builder:3')?.local.hostname, 'fd00::5');
  assert.is(unit.machine.starts[0]?.environment.IMAGEBUILDER_LISTEN, `[::]:${unit.port}`);
});

test('cos-agent: gets the scrape job, the alert rules, and the dashboard as the agent unpacks it', async () => {
  await using unit = makeQuickUnit();
  const { model, port } = unit;
  await relate(unit, 'cos-agent:4', { 'grafana-agent/0': {} });
  assert.equal(model.relations.get('cos-agent:4')?.local, {});
  await start(unit);
  const config = JSON.parse(model.relations.get('cos-agent:4')?.local.config ?? '{}') as {
    metrics_scrape_jobs: { static_configs: unknown }[];
    metrics_alert_rules: { groups: { rules: unknown[] }[] };
    dashboards: string[];
  };
  assert.equal(config.metrics_scrape_jobs[0]?.static_configs, [{ targets: [`localhost:${port}`] }]);
  assert.ok((config.metrics_alert_rules.groups[0]?.rules.length ?? 0) > 3);
  model.secrets.set('secret:t', { content: { token: 'first-token-0123456789-0123456789' }, granted: true });
  model.options.token = 'secret:t';
  await unit.hook('config-changed');
  const jobs = () =>
    (JSON.parse(model.relations.get('cos-agent:4')?.local.config ?? '{}') as { metrics_scrape_jobs: unknown[] })
      .metrics_scrape_jobs;
  assert.equal(jobs(), [], 'no job that could only fail');
  assert.match(model.status.message, 'metrics-token');
  model.secrets.set('secret:m', { content: { token: 'read-token-0123456789-0123456789' }, granted: true });
  model.options['metrics-token'] = 'secret:m';
  await unit.hook('config-changed');
  assert.match(JSON.stringify(jobs()), 'read-token-0123456789-0123456789');
  const { stdout } = await exec('xz', ['--decompress', '--stdout'], {
    input: Buffer.from(config.dashboards[0] ?? '', 'base64'),
  });
  assert.equal(JSON.parse(stdout), { title: 'Image Builder' });
});

test.run();
