import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseByteRange } from '#lib/api/byte-range.ts';

test('a Range header names bytes of a text, or nothing that counts', () => {
  const cases: [header: string | undefined, size: number, wanted: unknown][] = [
    ['bytes=0-', 10, { from: 0, to: 10 }],
    ['bytes=3-', 10, { from: 3, to: 10 }],
    ['bytes=3-3', 10, { from: 3, to: 4 }],
    ['Bytes=3-99', 10, { from: 3, to: 10 }],
    ['bytes=-4', 10, { from: 6, to: 10 }],
    ['bytes=-40', 10, { from: 0, to: 10 }],
    ['bytes=10-', 10, 'outside'],
    ['bytes=0-', 0, 'outside'],
    ['bytes=-0', 10, 'outside'],
    ['bytes=-1', 0, 'outside'],
    ['bytes=5-4', 10, null],
    ['bytes=-', 10, null],
    ['bytes=0-1,3-4', 10, null],
    ['bytes=0x1-', 10, null],
    ['lines=0-', 10, null],
    [`bytes=${'9'.repeat(16)}-`, 10, null],
    ['', 10, null],
    [undefined, 10, null],
  ];
  for (const [header, size, wanted] of cases) assert.equal(parseByteRange(header, size), wanted, header);
});

test.run();
