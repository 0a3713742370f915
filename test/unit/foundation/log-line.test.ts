import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { describeLogLine } from '#lib/log-line.ts';

/** The lines that a person sees of what `write` logs. */
function readable(write: (log: ReturnType<typeof createLog>) => void): string {
  const lines: string[] = [];
  write(
    createLog({
      fields: { function: 'gateway' },
      secrets: ['hunter22'],
      write: (line) => lines.push(describeLogLine(line.trimEnd())),
    }),
  );
  return lines.join('\n').replaceAll(/^[0-9]{2}:[0-9]{2}:[0-9]{2}/gm, 'TIME');
}

test('a line has its time, the function, the message and the fields', () => {
  assert.is(
    readable((log) => log.info('function ready', { pid: 7, name: 'a b', list: [1, 2] })),
    'TIME gateway       function ready  pid=7  name="a b"  list=[1,2]',
  );
});

test('a line that does not name its function has the one that wrote it', () => {
  assert.is(describeLogLine('{"message":"listening"}', 'status'), '         status        listening');
});

test('the level is shown where it matters', () => {
  assert.match(
    readable((log) => log.warn('left out')),
    /^TIME gateway {7}WARN left out$/,
  );
  assert.match(
    readable((log) => log.error('gone')),
    /^TIME gateway {7}ERROR gone$/,
  );
});

test('an error is its message with its causes; one that was not foreseen has its stack', () => {
  const cause = new Error('connection refused');
  const foreseen = new ImageBuilderError('broker.unreachable', 'RabbitMQ cannot be reached', { cause });
  assert.is(
    readable((log) => log.error('a call failed', { error: foreseen })),
    'TIME gateway       ERROR a call failed  error="RabbitMQ cannot be reached, because: connection refused"',
  );
  const [first, second = ''] = readable((log) =>
    log.error('a call failed', { error: new TypeError('x is odd') }),
  ).split('\n');
  assert.is(first, 'TIME gateway       ERROR a call failed  error="x is odd"');
  assert.match(second, /^ {4}at .*log-line\.test\.ts/);
});

test('no secret and no control character comes through', () => {
  const text = readable((log) =>
    log.warn('refused', { token: 'abc', reason: 'hunter22\u001b[2J\nnext', '\u001b[1m': 1 }),
  );
  for (const hidden of ['abc', 'hunter22', '\u001b']) assert.not.match(text, hidden);
  assert.is(text.split('\n').length, 1);
});

test('other text than a log entry stays as it is, but for control characters', () => {
  const others = [
    'Debugger listening on ws://127.0.0.1:1/',
    '    at run (file.ts:1:2)',
    '{"a":1}',
    '{broken',
    '[]',
    '',
  ];
  for (const line of others) assert.is(describeLogLine(line), line);
  assert.is(describeLogLine('red \u001b[31mtext\u0007'), 'red text');
});

test.run();
