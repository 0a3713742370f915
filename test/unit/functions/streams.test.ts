import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleStatus } from '#lib/api/examples.ts';
import type { Status } from '#lib/api/status.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createStreams, maximumStreams } from '../../../functions/status/streams.ts';

/** The stream of status documents. */

const documentOf = (status: Status) => ({ status, bytes: Buffer.from(JSON.stringify(status)) });
const never = new AbortController().signal;

test('all streams of one caller share one document, and its time alone is no news', async () => {
  const streams = createStreams({ lookAfterMs: 20 });
  let looks = 0;
  let version = '1';
  const make = async () => {
    looks += 1;
    const [build] = exampleStatus.running;
    assert.ok(build);
    return documentOf({ ...exampleStatus, version, running: [{ ...build, elapsed_seconds: looks }] });
  };
  const ends = new AbortController();
  const seen: string[][] = [];
  const readers = Array.from({ length: 200 }, async (_, index) => {
    const events: string[] = [];
    seen[index] = events;
    for await (const event of streams.open('a', make, [ends.signal])) events.push(event.toString());
  });
  while (looks < 5) await sleep(10);
  const quiet = looks;
  assert.ok(quiet < 100, `${quiet} looks for 200 streams`);
  for (const events of seen) assert.is(events.length, 1);
  version = '2';
  while (looks < quiet + 2) await sleep(10);
  ends.abort();
  await Promise.all(readers);
  for (const events of seen) {
    assert.is(events.length, 2);
    const [, data = ''] = /^event: status\ndata: (.*)\n\n$/.exec(events[1] ?? '') ?? [];
    assert.is((JSON.parse(data) as Status).version, '2');
  }
});

test('a slow reader skips to the newest document', async () => {
  const streams = createStreams({ lookAfterMs: 20 });
  let looks = 0;
  const make = async () => {
    looks += 1;
    return documentOf({ ...exampleStatus, version: String(looks) });
  };
  const stream = streams.open('a', make, [never])[Symbol.asyncIterator]();
  await stream.next();
  while (looks < 5) await sleep(10);
  const { value } = await stream.next();
  const [, version] = /"version":"([0-9]+)"/.exec(String(value)) ?? [];
  assert.ok(Number(version) >= looks - 1, `version ${version} after ${looks} looks`);
  await stream.return?.();
});

test('a document that cannot be made is a problem in the stream, and the stream goes on', async () => {
  const streams = createStreams({ lookAfterMs: 20 });
  let broken = true;
  const make = async () => {
    if (broken) throw new ImageBuilderError('broker.unreachable', 'RabbitMQ is away');
    return documentOf(exampleStatus);
  };
  const stream = streams.open('a', make, [never])[Symbol.asyncIterator]();
  assert.match(String((await stream.next()).value), /^event: problem\ndata: \{.*"code":"broker\.unreachable".*\}\n\n$/);
  broken = false;
  assert.match(String((await stream.next()).value), /^event: status\n/);
  await stream.return?.();
});

test('streams are bounded, and one that ends makes room', async () => {
  const streams = createStreams({ lookAfterMs: 20 });
  const make = async () => documentOf(exampleStatus);
  const open = Array.from({ length: maximumStreams }, () => streams.open('a', make, [never]));
  const more = () => streams.open('b', make, [never]);
  assert.throws(more, (error: unknown) => error instanceof ImageBuilderError && error.code === 'worker.busy');
  const [read, unread] = open;
  assert.ok(read && unread);
  await read[Symbol.asyncIterator]().next();
  for (const stream of [read, unread]) {
    stream.destroy();
    await once(stream, 'close');
    open.push(more());
    assert.throws(more);
  }
  for (const stream of open) stream.destroy();
});

test.run();
