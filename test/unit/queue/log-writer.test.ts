import { randomUUID } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type LogChunk, newChunk, textOf } from '#lib/queue/log-chunk.ts';
import { createLogCopy, type LogCopy } from '#lib/queue/log-copy.ts';
import { createLogWriter } from '#lib/queue/log-writer.ts';

/** The log of a running build on its way: written in chunks, and put together again. */

const buildId = randomUUID();

async function whole(copy: LogCopy): Promise<string> {
  let text = '';
  for (let at = 0, part = await copy.read(at); part !== null; part = await copy.read(at)) {
    text += part.text;
    at = part.from + part.text.length;
  }
  return text;
}

test('lines arrive in order and once, though RabbitMQ fails now and then and gets chunks twice', async () => {
  const copy = createLogCopy();
  let tries = 0;
  const writer = createLogWriter({
    ...{ buildId, attempt: 1, maximumBytes: 1024 ** 2 },
    send: async (chunk) => {
      tries += 1;
      copy.take(chunk);
      if (tries % 2 === 1) throw new Error('no confirm came');
    },
  });
  const lines = Array.from({ length: 2_000 }, (_, index) => `line ${index} ${'ä'.repeat(40)}`);
  for (const line of lines) writer.add(line);
  await writer.close(true);
  assert.is(await whole(copy), `${lines.join('\n')}\n`);
  assert.equal([copy.isWhole, copy.endedAttempt], [true, 1]);
});

test('a RabbitMQ that takes nothing costs bounded memory, and the text says how many lines are missing', async () => {
  const chunks: LogChunk[] = [];
  const gate = Promise.withResolvers<void>();
  const writer = createLogWriter({
    ...{ buildId, attempt: 1, maximumBytes: 1024 ** 3 },
    send: async (chunk) => {
      await gate.promise;
      chunks.push(chunk);
    },
  });
  const line = 'x'.repeat(1023);
  for (let count = 0; count < 5_000; count += 1) writer.add(line);
  gate.resolve();
  await writer.close(false);
  const text = Buffer.concat(await Promise.all(chunks.map(textOf))).toString();
  const kept = text.split('\n').filter((one) => one === line).length;
  assert.ok(kept <= 1_100, `${kept} lines were kept`);
  assert.ok(text.endsWith(`(${5_000 - kept} lines are missing here: RabbitMQ did not take them in time)\n`));
});

test('beyond the limit of the log, a line says that nothing follows', async () => {
  const copy = createLogCopy();
  const send = async (chunk: LogChunk) => copy.take(chunk);
  const writer = createLogWriter({ buildId, attempt: 1, maximumBytes: 20, send });
  for (const line of ['one', 'x'.repeat(30), 'two']) writer.add(line);
  await writer.close(true);
  assert.match(await whole(copy), /^one\n\(the log is larger than IMAGEBUILDER_MAXIMUM_LOG: [^\n]+\)\n$/);
});

test('attempts follow each other, what an attempt that was given up still sends does not count, and a gap is known', async () => {
  const copy = createLogCopy();
  const take = (attempt: number, from: number, text: string, end = false) =>
    copy.take(newChunk({ buildId, attempt, from, end }, text));
  take(1, 0, 'one\n');
  take(2, 0, 'two\n');
  take(1, 4, 'late\n');
  take(2, 4, 'three\n', true);
  assert.is(await whole(copy), 'one\ntwo\nthree\n');
  assert.equal([copy.size, copy.isWhole, copy.endedAttempt], [14, true, 2]);
  assert.equal((await copy.read(5))?.text.toString(), 'wo\n');
  take(2, 20, 'later\n');
  assert.equal([copy.size, copy.isWhole], [30, false]);
  assert.equal(await copy.read(14), { from: 24, text: Buffer.from('later\n') });
});

test('a chunk whose text is not as long as it says is refused', async () => {
  const chunk = newChunk({ buildId, attempt: 1, from: 0, end: false }, 'text\n');
  await textOf({ ...chunk, bytes: 4 }).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, '5 bytes and not 4'),
  );
});

test.run();
