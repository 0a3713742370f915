import { createRequire } from 'node:module';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { openTracer, silentTracer } from '#lib/trace/tracer.ts';
import { parseTraceContext } from '#lib/trace-context.ts';
import { startServer } from '../fetch/with-server.ts';
import { startSpanReceiver } from './span-receiver.ts';

/** Spans on their way to a real receiver of OTLP over HTTP. */

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const parent = parseTraceContext({ traceparent, tracestate: 'vendor=t61rcWkgMzE' });
const library = () =>
  Object.keys(createRequire(import.meta.url).cache).filter((path) => path.includes('@opentelemetry/sdk-trace'));

/** The tracer of an environment, and the lines that it logs. */
async function open(environment: Record<string, string>, flushMs?: number) {
  const lines: Record<string, unknown>[] = [];
  const { tracing, log: logging } = loadConfig(environment);
  const log = createLog({ secrets: logging.secrets, write: (line) => lines.push(JSON.parse(line)) });
  const options = { ...tracing, service: 'imagebuilder-test', secrets: ['sesame'], log };
  return { lines, tracer: await openTracer({ ...options, ...(flushMs === undefined ? {} : { flushMs }) }) };
}

/** Variables that the library reads by itself. */
async function withVariables(variables: Record<string, string>, work: () => Promise<void>): Promise<void> {
  Object.assign(process.env, variables);
  try {
    await work();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

test('without an endpoint, and where it is disabled, no span is recorded and the library is not loaded', async () => {
  const there = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' };
  for (const environment of [{}, { ...there, OTEL_SDK_DISABLED: 'true' }]) {
    assert.is((await open(environment)).tracer, silentTracer);
  }
  const span = silentTracer.start('build attempt', 'consumer', parent, {});
  assert.equal({ ...span.context, spanId: parent?.spanId }, parent);
  assert.equal(library(), []);
});

test('attempts and their steps arrive as spans of the trace, with errors, and without secrets', async () => {
  await using receiver = await startSpanReceiver();
  const OTEL_EXPORTER_OTLP_HEADERS = 'authorization=Bearer%20canary-token,x-scope=builds';
  const OTEL_RESOURCE_ATTRIBUTES = 'deployment.environment.name=test';
  await withVariables({ OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES }, async () => {
    const { tracer, lines } = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: `${receiver.url}/otlp` });
    const span = tracer.start('build attempt', 'consumer', parent, { 'imagebuilder.build.attempt': 2 });
    const startedAt = new Date('2026-01-01T12:00:00.000Z');
    span.part('fetch', startedAt, new Date('2026-01-01T12:00:01.500Z'), null);
    const error = { code: 'upstream.status', message: 'the server said \u001b[31msesame\u001b[0m' };
    span.part('install', startedAt, startedAt, { ...error, message: `${error.message}${'.'.repeat(2_000)}` });
    span.end(error, { 'imagebuilder.build.state': 'failed' });
    tracer.start('submit build', 'server', { ...parent, sampled: false } as never, {}).end(null);
    const root = tracer.start('submit build', 'server', null, {});
    root.end(null);
    await tracer[Symbol.asyncDispose]();
    assert.equal(receiver.requests, ['POST /otlp/v1/traces']);
    const [headers = {}] = receiver.headers;
    assert.equal([headers.authorization, headers['x-scope']], ['Bearer canary-token', 'builds']);
    assert.not.match(JSON.stringify(lines), /canary/);
    const { 'service.version': version, ...resource } = receiver.resources[0] ?? {};
    assert.equal(resource, { 'service.name': 'imagebuilder-test', 'deployment.environment.name': 'test' });
    assert.type(version, 'string');
    const { spans } = receiver;
    assert.equal(
      spans.map(({ name, traceId, parentSpanId }) => [name, traceId === parent?.traceId, parentSpanId]),
      [
        ['fetch', true, span.context.spanId],
        ['install', true, span.context.spanId],
        ['build attempt', true, parent?.spanId],
        ['submit build', false, undefined],
      ],
    );
    const [fetched, installed, attempt, submitted] = spans;
    assert.is(BigInt(fetched?.endTimeUnixNano ?? 0) - BigInt(fetched?.startTimeUnixNano ?? 0), 1_500_000_000n);
    assert.equal(fetched?.status, { code: 0 });
    assert.equal([installed?.status.code, installed?.attributes], [2, { 'error.type': 'upstream.status' }]);
    assert.match(installed?.status.message ?? '', /^upstream\.status: the server said \[secret\]\.+$/);
    assert.ok((installed?.status.message ?? '').length < 1_100);
    assert.is(attempt?.status.message, 'upstream.status: the server said [secret]');
    assert.is(attempt?.traceState, 'vendor=t61rcWkgMzE');
    const state = { 'imagebuilder.build.attempt': 2, 'imagebuilder.build.state': 'failed' };
    assert.equal([attempt?.kind, attempt?.attributes], [5, { ...state, 'error.type': 'upstream.status' }]);
    assert.equal([submitted?.traceId, submitted?.spanId], [root.context.traceId, root.context.spanId]);
    assert.ok(library().length > 0, 'the library is what is looked for');
  });
});

test('an endpoint that refuses spans makes one line in the log', async () => {
  await using receiver = await startServer((_request, response) => response.writeHead(403).end());
  const { tracer, lines } = await open({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/own/path` });
  tracer.start('build attempt', 'consumer', parent, {}).end(null);
  await tracer[Symbol.asyncDispose]();
  assert.equal(receiver.requests, ['POST /own/path']);
  assert.equal(
    lines.map(({ message }) => message),
    ['spans of builds are exported', 'spans are lost: the endpoint does not take them'],
  );
});

test('an endpoint that never answers holds nothing up', async () => {
  let hangs: unknown;
  await using receiver = await startServer((request) => {
    hangs = request;
  });
  const variables = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_EXPORTER_OTLP_TIMEOUT: '3000' };
  const { tracer, lines } = await open(variables, 1_000);
  tracer.start('build attempt', 'consumer', parent, {}).end(null);
  await tracer[Symbol.asyncDispose]();
  assert.equal(
    lines.map(({ message }) => message),
    ['spans of builds are exported', 'the last spans may not have been exported'],
  );
  assert.ok(hangs !== undefined, 'it had the request');
});

test('settings that name no endpoint are faults, and quote nothing', () => {
  for (const value of ['collector:4318', 'ftp://collector/', 'http://user:canary@collector/']) {
    assert.throws(
      () => loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: value }),
      ({ message }: Error) => /OTEL_EXPORTER_OTLP_ENDPOINT must/.test(message) && !message.includes('canary'),
    );
  }
});

test.run();
