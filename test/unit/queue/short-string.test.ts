import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toShortString } from '#lib/queue/short-string.ts';

test('text that fits into an AMQP short string stays as it is', () => {
  for (const text of ['', 'T-77', '\uFEFFmarked', 'x'.repeat(255)]) assert.is(toShortString(text), text);
});

test('longer text is cut at 255 bytes, never within a character', () => {
  assert.is(toShortString('x'.repeat(256)), 'x'.repeat(255));
  assert.is(toShortString('é'.repeat(256)), 'é'.repeat(127));
  assert.is(toShortString('漢'.repeat(256)), '漢'.repeat(85));
  assert.is(toShortString(`xx${'🚀'.repeat(128)}`), `xx${'🚀'.repeat(63)}`);
});

test.run();
