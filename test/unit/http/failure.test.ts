import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { describeFailure, firstLine, isTransientStatus, parseRetryAfter } from '#lib/http/failure.ts';

test('a status may pass that says how a server is, not what it can do', () => {
  const passing = [408, 425, 429, 500, 502, 503, 504, 507, 520, 530];
  const lasting = [200, 302, 400, 401, 403, 404, 409, 410, 413, 416, 501, 505, 511];
  assert.equal(
    [...passing, ...lasting].filter((status) => isTransientStatus(status)),
    passing,
  );
});

test('Retry-After is seconds or a date, never less than none nor more than a day', () => {
  const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toUTCString();
  assert.is(parseRetryAfter('0'), 0);
  assert.is(parseRetryAfter('120'), 120);
  assert.is(parseRetryAfter('9'.repeat(30)), 86_400);
  assert.ok([58, 59, 60].includes(parseRetryAfter(inSeconds(60)) ?? 0));
  assert.is(parseRetryAfter(inSeconds(-60)), 0);
  assert.is(parseRetryAfter(inSeconds(1_000_000)), 86_400);
  for (const none of [undefined, '', 'soon', '1.5 hours', '9'.repeat(41)]) {
    assert.is(parseRetryAfter(none), undefined, none);
  }
});

test('failures of the network are distinguished, with whether they may pass', () => {
  const failure = (code: string) => describeFailure(Object.assign(new Error('first\nsecond'), { code }));
  const cases = [
    ['EAI_AGAIN', 'DNS does not answer', true],
    ['ENOTFOUND', 'DNS knows no such host', false],
    ['ECONNREFUSED', 'the connection was refused', true],
    ['ECONNRESET', 'the connection was cut', true],
    ['EPIPE', 'the connection was cut', true],
    ['ERR_GOT_REQUEST_ERROR', 'the connection was cut', true],
    ['ERR_HTTP_CONTENT_LENGTH_MISMATCH', 'the connection was cut (first)', true],
    ['EHOSTUNREACH', 'there is no route to the host', true],
    ['ETIMEDOUT', 'no connection in time', true],
    ['HPE_INVALID_CONSTANT', 'the answer is not HTTP (HPE_INVALID_CONSTANT)', true],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'TLS failed (DEPTH_ZERO_SELF_SIGNED_CERT): first', false],
    ['EPROTO', 'TLS failed (EPROTO): first', false],
  ] as const;
  for (const [code, what, transient] of cases) assert.equal(failure(code), { what, transient }, code);
  for (const other of [
    failure('ENOSPC'),
    failure('toString'),
    describeFailure(new Error('no')),
    describeFailure(null),
  ]) {
    assert.is(other, null);
  }
  assert.is(firstLine(new Error('first\nsecond')), 'first');
  assert.is(firstLine('x'.repeat(300)).length, 200);
});

test.run();
