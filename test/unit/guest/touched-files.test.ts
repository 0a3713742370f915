import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseTouched } from '#lib/guest/touched-files.ts';
import { holds } from '../holds.ts';

/** The parser of what scripts/touched.sh writes. test/system/identities.test.ts runs that script. */

const parse = (text: string) => {
  const { touched: parsed } = parseTouched(Buffer.from(text, 'latin1'));
  return parsed === null
    ? null
    : { ...parsed, files: parsed.files.map(({ path, ...file }) => [Buffer.from(path).toString('latin1'), file]) };
};

test('files are read with their types, modes and sizes, those with line breaks in their paths too', () => {
  assert.equal(parse('f 644 12 /a b\nl 777 9 /c\n\np 4600 0 /d\ne\0\0'), {
    isComplete: true,
    files: [
      ['/a b', { type: 'file', mode: '644', sizeBytes: 12 }],
      ['/c', { type: 'link', mode: '777', sizeBytes: 0 }],
      ['/d\ne', { type: 'pipe', mode: '4600', sizeBytes: 0 }],
    ],
  });
});

test('a list without its end is none, and one with other lines is incomplete', () => {
  for (const text of ['', '\0', 'f 644 12 /a', 'f 644 12 /a\n', 'f 644 12 /a\nf\0\n\n']) assert.is(parse(text), null);
  for (const text of [
    'f 644 12 /a\nmore\n\n\0',
    'f 644 12 /a\nd 755 0 /b\n\n\0',
    'f 644 12 /a\nf 999 1 /b\n\n\0',
    'f 644 12 /a\nf 644 1 b\n\n\0',
    'f 644 12 /a\n\nf 644 1 /b',
    'f 644 12 /a\n\n',
  ]) {
    const { isComplete, files } = parse(text) ?? {};
    assert.equal([isComplete, files?.length], [false, 1], text);
  }
});

test('the copyright files begin behind the list, or behind the zero byte where there is none', () => {
  for (const list of ['', 'f 644 1 /a\n', '\n', 'f 644 1 /a\n\nf 644 1 /b\nc\0']) {
    const output = Buffer.from(`${list}\0==> x\n\0`);
    assert.is(output.toString('utf8', parseTouched(output).end), '==> x\n\0', list);
  }
});

test('whatever the image writes is read or left out', () => {
  holds(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const { path } of parseTouched(bytes).touched?.files ?? []) assert.is(path[0], 0x2f);
    }),
  );
});

test.run();
