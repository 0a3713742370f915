import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { answerCall, answerOpenCall, type Call } from '#lib/api/call.ts';
import { Problem } from '#lib/api/problem.ts';
import { createCallers, digestToken } from '#lib/callers.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';

const callers = createCallers({
  token: null,
  tokenHolders: [{ name: 'lander', role: 'submit', limits: {}, tokenDigests: [digestToken('sesame')] }],
});

const about = { path: '/{build_id}', build_id: 'b' };

async function audited(authorization: string | undefined, work: (call: Call) => Promise<unknown>) {
  const lines: string[] = [];
  const seen = { status: 200, headers: {} as Record<string, string> };
  const body = await answerCall(
    {
      callers,
      // Even where nothing else is logged.
      log: createLog({ level: 'error', write: (line) => lines.push(line) }),
      path: about.path,
      about: { build_id: about.build_id },
      event: { method: 'GET', headers: authorization === undefined ? {} : { authorization } },
      context: {
        status: (code) => {
          seen.status = code;
        },
        headers: (values) => Object.assign(seen.headers, values),
      },
    },
    work,
  );
  const audits = lines.map((line) => JSON.parse(line)).filter(({ level }) => level === 'audit');
  assert.is(audits.length, 1);
  const { time: _time, level: _level, message: _message, ...audit } = audits[0];
  return { body, audit, lines: lines.join(''), ...seen };
}

test('a call is answered and its audit line says who did what', async () => {
  const { body, audit, status } = await audited('Bearer sesame', async (call) => {
    assert.is(call.caller.name, 'lander');
    call.note({ ticket_id: 7 });
    call.status(202);
    return 'done';
  });
  assert.equal([body, status], ['done', 202]);
  assert.equal(audit, { ...about, caller: 'lander', method: 'GET', ticket_id: 7, status: 202 });
});

test('an open call is answered without a token, and audited as anybody’s', async () => {
  const lines: string[] = [];
  const log = createLog({ level: 'error', write: (line) => lines.push(line) });
  const context = { status: () => undefined, headers: () => undefined };
  for (const headers of [{}, { authorization: 'Bearer wrong-token' }]) {
    const event = { method: 'GET', headers };
    assert.is(await answerOpenCall({ log, event, context, path: '/openapi.json' }, async () => 'read'), 'read');
    const { time: _time, level: _level, message: _message, ...audit } = JSON.parse(lines.pop() ?? '');
    assert.equal(audit, { caller: 'anonymous', method: 'GET', path: '/openapi.json', status: 200 });
  }
});

test('the lines of a call with a place in a trace name it, unless the call begins an operation of its own', async () => {
  const lines: string[] = [];
  const log = createLog({ level: 'info', write: (line) => lines.push(line) });
  const context = { status: () => undefined, headers: () => undefined };
  const [traceId, spanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];
  const headers = { authorization: 'Bearer sesame', traceparent: `00-${traceId}-${spanId}-01` };
  const options = { callers, log, event: { method: 'GET', headers }, context, path: '/' };
  const spans = () =>
    lines
      .splice(0)
      .map((line) => JSON.parse(line))
      .map(({ trace_id, span_id }) => [trace_id, span_id]);
  await answerCall(options, async () => {
    throw new ImageBuilderError('request.not_found', 'nothing is there');
  });
  assert.equal(spans(), [
    [traceId, spanId],
    [traceId, spanId],
  ]);
  await answerCall(options, async (call) => call.note({ trace_id: traceId, span_id: 'f'.repeat(16) }));
  assert.equal(spans(), [[traceId, 'f'.repeat(16)]]);
});

test('a call without its token is refused, audited, and its token stands nowhere', async () => {
  for (const header of [undefined, 'Bearer wrong-token', 'Basic wrong-token']) {
    const { body, audit, status, headers, lines } = await audited(header, async () => assert.unreachable());
    assert.equal([status, Problem.parse(body).code], [401, 'request.unauthorized']);
    assert.match(headers['www-authenticate'] ?? '', /Bearer/);
    assert.equal(audit, { ...about, caller: 'anonymous', method: 'GET', status: 401, code: 'request.unauthorized' });
    assert.not.match(lines, 'wrong-token');
  }
});

test('a refused call is audited with its code, and so is one that fails', async () => {
  for (const [error, status, code] of [
    [new ImageBuilderError('caller.limit', 'too many', { retryAfterSeconds: 7 }), 429, 'caller.limit'],
    [new TypeError('unforeseen'), 500, 'internal'],
  ] as const) {
    const answer = await audited('Bearer sesame', async () => {
      throw error;
    });
    assert.is(answer.status, status);
    assert.equal(answer.audit, { ...about, caller: 'lander', method: 'GET', status, code });
    if (code === 'caller.limit') assert.is(answer.headers['retry-after'], '7');
  }
});

test.run();
