import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createCallers, digestToken, type Role } from '#lib/callers.ts';
import { createLog } from '#lib/log.ts';
import { measured } from '#lib/metrics/calls.ts';
import { mergeMetrics } from '#lib/metrics/merge.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { pathOf } from '../../../functions/build-image/build-image.ts';

const log = createLog({ level: 'error', write: () => {} });
const everybody = createCallers({ token: null, tokenHolders: [] });
const holder = (name: Role) => ({ name, role: name, limits: {}, tokenDigests: [digestToken(name)] });
const holders = createCallers({ token: null, tokenHolders: [holder('submit'), holder('read'), holder('operate')] });

/** A function whose calls are measured, and how it answers. */
function serve(callers = everybody) {
  const metrics = createMetrics('build-image');
  const handler = measured({ metrics, callers, log, pathOf }, (event, context) => {
    if (event.path === '/boom') throw new Error('boom');
    if (event.path.endsWith('/retry')) context.status(202);
    return {};
  });
  const call = async (path: string, { method = 'GET', headers = {} as Record<string, string> } = {}) => {
    const seen = { status: 200, headers: {} as Record<string, string> };
    const context = {
      status: (code: number) => {
        seen.status = code;
      },
      headers: (values: Readonly<Record<string, string>>) => Object.assign(seen.headers, values),
    };
    const body = await handler({ path, method, headers }, context);
    return { ...seen, body: String(body) };
  };
  return { call, metrics };
}

const samples = (text: string, name: string) => text.split('\n').filter((line) => line.startsWith(`${name}{`));

test('calls are counted by method, template of the path and status, whatever strangers write into a path', async () => {
  const { call } = serve();
  const id = '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55';
  await call('/', { method: 'POST' });
  for (const path of [`/${id}`, `/secret-ticket`]) await call(path);
  await call(`/${id}/retry`, { method: 'POST' });
  for (let at = 0; at < 50; at += 1) await call(`/a/b/${at}`, { method: `X${at}` });
  await call('/boom').catch(() => {});
  const { body, headers } = await call('/metrics');
  assert.is(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  assert.equal(samples(body, 'imagebuilder_calls_total').sort(), [
    'imagebuilder_calls_total{method="GET",path="/{build_id}",status="200",function="build-image"} 2',
    'imagebuilder_calls_total{method="GET",path="/{build_id}",status="500",function="build-image"} 1',
    'imagebuilder_calls_total{method="POST",path="/",status="200",function="build-image"} 1',
    'imagebuilder_calls_total{method="POST",path="/{build_id}/retry",status="202",function="build-image"} 1',
    'imagebuilder_calls_total{method="other",path="other",status="200",function="build-image"} 50',
  ]);
  assert.not.match(body, 'secret-ticket');
  assert.match(body, /^imagebuilder_call_duration_seconds_count\{function="build-image",method="POST",path="\/"\} 1$/m);
  assert.match(body, /^nodejs_heap_size_used_bytes\{/m);
  assert.match(body, /^nodejs_eventloop_lag_seconds\{/m);
});

test('metrics need the token of a caller who sees all builds, and are only read', async () => {
  const { call } = serve(holders);
  assert.is((await call('/metrics')).status, 401);
  const as = (name: string) => ({ headers: { authorization: `Bearer ${name}` } });
  assert.is((await call('/metrics', as('submit'))).status, 403);
  assert.is((await call('/metrics', as('read'))).status, 200);
  const { body, status } = await call('/metrics/', as('operate'));
  assert.is(status, 200);
  assert.match(body, /path="\/metrics",status="403"/);
  for (const name of ['submit', 'read', 'operate']) assert.not.match(body, `"${name}"`);
  assert.is((await call('/metrics', { method: 'POST', ...as('read') })).status, 405);
});

test('two functions of one process count for themselves', async () => {
  const [one, other] = [serve(), serve()];
  await one.call('/');
  assert.is(samples(await one.metrics.text(), 'imagebuilder_calls_total').length, 1);
  assert.is(samples(await other.metrics.text(), 'imagebuilder_calls_total').length, 0);
});

test('a gauge is read at each look, and shows nothing where it cannot be read', async () => {
  const metrics = createMetrics('status');
  let read = (): number => 3;
  metrics.gauge({ name: 'imagebuilder_plain', help: 'a number', labels: [] }, () => [[{}, read()]]);
  metrics.gauge({ name: 'imagebuilder_by', help: 'a number', labels: ['by'] }, async () => [[{ by: 'x' }, read()]]);
  const shown = async () =>
    (await metrics.text()).split('\n').filter((line) => /^imagebuilder_(plain|by)\{/.test(line));
  assert.equal(await shown(), [
    'imagebuilder_plain{function="status"} 3',
    'imagebuilder_by{by="x",function="status"} 3',
  ]);
  read = () => {
    throw new Error('away');
  };
  assert.equal(await shown(), []);
});

test('answers of several functions merge into one, each metric with one HELP and one TYPE', async () => {
  const [status, worker] = ['status', 'build-worker'].map(createMetrics);
  assert.ok(status && worker);
  worker.counter({ name: 'imagebuilder_only_here_total', help: 'a count', labels: [] })({}, 2);
  const merged = mergeMetrics([await status.text(), await worker.text()]);
  const lines = merged.split('\n').filter((line) => line !== '');
  const heads = lines.filter((line) => line.startsWith('#'));
  assert.is(new Set(heads).size, heads.length);
  for (const kind of ['HELP', 'TYPE']) {
    const names = heads.filter((line) => line.startsWith(`# ${kind}`)).map((line) => line.split(' ')[2]);
    assert.is(new Set(names).size, names.length);
  }
  const resident = lines.flatMap((line, at) => (line.startsWith('process_resident_memory_bytes{') ? [at] : []));
  assert.equal(
    [resident.length, (resident[1] ?? 0) - (resident[0] ?? 0)],
    [2, 1],
    'samples of a metric stand together',
  );
  assert.match(merged, /^imagebuilder_only_here_total\{function="build-worker"\} 2$/m);
});

test.run();
