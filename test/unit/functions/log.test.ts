import { randomUUID } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { findRoute } from '#lib/serve/routes.ts';
import { createAnswerLog } from '../../../functions/build-image/log.ts';
import { buildEvent } from '../queue/build-event.ts';

/** Where the log of a build that has ended is followed. */

const log = {
  ...{ role: 'log' as const, name: 'a.log.gz', media_type: 'application/gzip', id: 'logs/x/a.log.gz', size: 1 },
  ...{ location: 'https://swift.example/v1/AUTH_x/imagebuilder/logs/x/a.log.gz', store: 'swift' as const },
  checksums: { sha256: 'a'.repeat(64), sha512: 'a'.repeat(128) },
};

/** The answer to a follower of a build that has ended so many minutes ago. */
const follow = (minutes: number, artifact: object) => ask(minutes, artifact, { accept: 'text/event-stream' });

async function ask(minutes: number, artifact: object, headers: Readonly<Record<string, string>>) {
  const ledger = createLedger({ forgetAfterSeconds: 86_400_000, historyBytes: 2 ** 20 });
  const buildId = randomUUID();
  const time = new Date(Date.now() - minutes * 60_000).toISOString();
  const about = { build_id: buildId, ticket_id: 'T-77', time, worker: 'w', attempt: 1 };
  const record = (event: BuildEvent) => ledger.apply({ kind: 'event', id: randomUUID(), event });
  record(buildEvent({ ...about, state: 'running', sequence: 1 }));
  const artifacts = [artifact] as NonNullable<BuildEvent['artifacts']>;
  record({ ...buildEvent({ ...about, state: 'completed', sequence: 2 }), artifacts });
  const build = ledger.get(buildId);
  assert.ok(build);
  const broker = { ledger: { ...ledger, onChange: () => () => {} }, logs: {} };
  const answerLog = createAnswerLog({ broker: broker as never, storeDirectory: '/nonexistent' });
  let status = 200;
  const answered: Record<string, string> = {};
  const call = {
    status: (code: number) => {
      status = code;
    },
    headers: (values: Readonly<Record<string, string>>) => Object.assign(answered, values),
  };
  const event = { method: 'GET', path: '/', query: {}, headers, body: undefined, rawBody: Buffer.alloc(0) };
  const disconnected = AbortSignal.abort();
  await answerLog(build, event, { disconnected }, call as never);
  return { buildId, status, type: answered['content-type'], location: answered.location };
}

test('a log in Swift is followed from there, by the function that may read it, when RabbitMQ may have dropped lines', async () => {
  for (const minutes of [61, 100_000]) {
    const { buildId, status, location = '' } = await follow(minutes, log);
    assert.is(status, 307);
    for (const [asked, wanted] of [
      ['/api/v1/build_image', '/api/v1/images'],
      ['/function/build-image', '/function/images'],
    ]) {
      const { pathname, search } = new URL(location, `http://gateway.example${asked}/${buildId}/log?follow`);
      assert.is(pathname, `${wanted}/${buildId}/log`);
      assert.equal(findRoute(pathname + search), { kind: 'function', name: 'images', path: `/${buildId}/log?follow` });
    }
  }
});

test('a part of a log in Swift is one of its text, from the function that may read it, and not of the packed bytes', async () => {
  const whole = await ask(1, log, {});
  assert.equal([whole.status, whole.location], [307, log.location]);
  const { buildId, status, location = '' } = await ask(1, log, { range: 'bytes=10-' });
  assert.is(status, 307);
  const { pathname } = new URL(location, `http://gateway.example/api/v1/build_image/${buildId}/log`);
  assert.is(pathname, `/api/v1/images/${buildId}/log`);
});

test('the log of a build that has just ended, or that no store has, is followed from RabbitMQ', async () => {
  for (const answer of [await follow(1, log), await follow(90, { ...log, role: 'manifest' })]) {
    assert.equal([answer.status, answer.type, answer.location], [200, 'text/event-stream', undefined]);
  }
});

test.run();
