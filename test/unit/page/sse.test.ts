import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createEventReader } from '../../../functions/status/page/sse.js';

const stream = ': hello\n\nevent: status\nid: 7\ndata: {"a":1}\n\ndata: one\ndata:two\n\n: no news\n\nevent: end\n\n';
const events = [
  { type: 'status', id: '7', data: '{"a":1}' },
  { type: 'message', id: '', data: 'one\ntwo' },
  { type: 'end', id: '', data: '' },
];

test('events are read, and comments are passed over, wherever the stream is cut', () => {
  for (let size = 1; size <= stream.length; size += 1) {
    const read = createEventReader();
    const seen = [];
    for (let at = 0; at < stream.length; at += size) seen.push(...read(stream.slice(at, at + size)));
    assert.equal(seen, events, `in parts of ${size}`);
  }
});

test('an event that has not ended yet is none', () => {
  const read = createEventReader();
  assert.equal(read('data: 1\n'), []);
  assert.equal(read('\ndata: 2\n'), [{ type: 'message', id: '', data: '1' }]);
});

test('an event without an end is given up at a bound, and takes no time that grows faster than it', () => {
  const read = createEventReader();
  const part = `data: ${'x'.repeat(1024)}\n`;
  let parts = 0;
  assert.throws(() => {
    for (; parts < 40_000; parts += 1) read(part);
  }, /too large/);
  assert.ok(parts > 30_000);
});

test.run();
