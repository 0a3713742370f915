import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { handlerModule } from '#lib/api/function.ts';
import { Problem } from '#lib/api/problem.ts';
import { refuseMethod, respond } from '#lib/api/respond.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';

function newAnswer() {
  const seen = { status: 200, headers: {} as Record<string, string> };
  return {
    seen,
    status(code: number) {
      seen.status = code;
    },
    headers(values: Readonly<Record<string, string>>) {
      Object.assign(seen.headers, values);
    },
  };
}
const lines: string[] = [];
const log = createLog({ write: (line) => lines.push(line) });

test('the result of the work is the answer', async () => {
  const answer = newAnswer();
  assert.equal(await respond(answer, log, async () => ({ a: 1 })), { a: 1 });
  assert.equal(answer.seen, { status: 200, headers: {} });
});

test('an error becomes a problem with its status, faults and Retry-After', async () => {
  const answer = newAnswer();
  const body = await respond(answer, log, async () => {
    throw new ImageBuilderError('broker.unreachable', 'gone', {
      retryAfterSeconds: 5,
      faults: [{ path: '$', message: 'x' }],
    });
  });
  const problem = Problem.parse(body);
  assert.is(answer.seen.status, 503);
  assert.equal(
    [problem.status, problem.code, problem.retryable, problem.detail],
    [503, 'broker.unreachable', true, 'gone'],
  );
  assert.equal(answer.seen.headers, { 'content-type': 'application/problem+json', 'retry-after': '5' });
});

test('an unforeseen error goes to the log and not to the caller', async () => {
  const answer = newAnswer();
  lines.length = 0;
  const body = await respond(answer, log, async () => {
    throw new TypeError('the secret inner workings');
  });
  assert.is(answer.seen.status, 500);
  assert.not.match(JSON.stringify(body), 'inner workings');
  assert.match(lines.join(''), 'inner workings');
});

test('a refused method names the allowed ones', async () => {
  const answer = newAnswer();
  await respond(answer, log, async () => refuseMethod(answer, 'PUT', ['GET', 'HEAD']));
  assert.is(answer.seen.status, 405);
  assert.is(answer.seen.headers.allow, 'GET, HEAD');
});

test('a composition that failed is tried again by the next call, built once, and closed', async () => {
  let built = 0;
  let closed = 0;
  const { handler, close } = handlerModule(
    async () => {
      built += 1;
      if (built === 1) throw new ImageBuilderError('config.invalid', 'no such setting');
      return {
        async [Symbol.asyncDispose]() {
          closed += 1;
        },
      };
    },
    () => () => 'answer',
  );
  const answer = newAnswer();
  assert.is(((await handler({}, answer)) as Problem).code, 'config.invalid');
  assert.is(answer.seen.status, 500);
  assert.equal(await Promise.all([handler({}, newAnswer()), handler({}, newAnswer())]), ['answer', 'answer']);
  assert.is(built, 2);
  await close();
  assert.is(closed, 1);
});

test.run();
