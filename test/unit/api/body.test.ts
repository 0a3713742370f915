import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readJsonObject } from '#lib/api/body.ts';
import { findJsonFault } from '#lib/api/json-fault.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { holds } from '../holds.ts';

const json = { 'content-type': 'application/json' };

function refusal(body: string | Uint8Array, headers: Readonly<Record<string, string>> = json): ImageBuilderError {
  try {
    readJsonObject({ headers, rawBody: Buffer.from(body as string) });
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    return error as ImageBuilderError;
  }
  throw new Error('the body was taken');
}

test('JSON is taken by any type that says so, whatever its case and parameters', () => {
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'Application/JSON;charset="UTF-8"; odd',
    ' application/json ',
    'application/vnd.example+json',
    'application/problem+json; charset=utf-8',
  ]) {
    assert.equal(readJsonObject({ headers: { 'content-type': type }, rawBody: Buffer.from(' {"a":"ü"}\n') }), {
      a: 'ü',
    });
  }
});

test('a body by another type is refused with the header that came and the one to send', () => {
  for (const type of [
    'application/x-www-form-urlencoded',
    'application/x-www-form-urlencoded; charset=utf-8',
    'text/plain;charset=UTF-8',
    'text/json',
    'application/json-seq',
    'application/jsonx',
    'application/x+json2',
    'text/plain; application/json',
    'text/plain, application/json',
    'text/plain; x=+json',
    'text/plain,x+json',
    '+json',
    'multipart/form-data; boundary=----x',
    'application/octet-stream',
    'json',
  ]) {
    const error = refusal('{}', { 'content-type': type });
    assert.equal([error.code, error.status, error.faults], ['request.media_type', 415, []], type);
    assert.match(error.message, `the request has the header "Content-Type: ${type}"`);
    assert.match(error.message, 'with the header "Content-Type: application/json"');
  }
  const none = refusal('{}', {});
  assert.equal([none.code, none.status], ['request.media_type', 415]);
  assert.match(none.message, 'the request has no Content-Type; send the body as JSON');
});

test('a body in a content coding is refused as that, since nothing decodes it', () => {
  for (const coding of ['gzip', 'br', 'gzip, identity']) {
    const error = refusal(Buffer.from([0x1f, 0x8b, 8]), { ...json, 'content-encoding': coding });
    assert.equal([error.code, error.status], ['request.media_type', 415]);
    assert.match(error.message, `"Content-Encoding: ${coding}"; send the body as it is`);
  }
  assert.equal(
    readJsonObject({ headers: { ...json, 'content-encoding': 'Identity' }, rawBody: Buffer.from('{}') }),
    {},
  );
});

const utf16 = (text: string) => Buffer.from(text, 'utf16le');
const swapped = (text: string) => utf16(text).swap16();

for (const [what, body, message] of [
  ['empty', '', /^the body is empty; send a JSON object, with the header "Content-Type: application\/json"$/],
  ['with a byte order mark', '\ufeff{}', /begins with a byte order mark \(the bytes EF BB BF\); send it without one$/],
  ['UTF-16, little-endian, with a byte order mark', utf16('\ufeff{}'), /it is UTF-16 or UTF-32; send it as UTF-8/],
  ['UTF-16, big-endian, with a byte order mark', swapped('\ufeff{}'), /it is UTF-16/],
  ['UTF-16, little-endian', utf16('{"a":1}'), /it is UTF-16/],
  ['UTF-16, big-endian', swapped('{"a":1}'), /it is UTF-16/],
  ['Latin-1', Buffer.from('{"a":"\ufffdü', 'utf8').subarray(0, 10), /not UTF-8 at byte 10 \(hexadecimal C3\)/],
  ['not UTF-8 at its start', Buffer.from([0xe9, 0x22]), /not UTF-8 at byte 1 \(hexadecimal E9\)/],
  ['a form', 'ticket_id=1&x=2', /at line 1, column 1 "t" stands where a value is expected$/],
  ['blanks alone', ' \n', /at line 2, column 1 it ends where a value is expected$/],
  ['cut short', '{"a":', /at line 1, column 6 it ends where a value is expected$/],
  ['cut short in a string', '{"a', /column 4 it ends where a double quote at the end of the string is expected$/],
  ['two values', '{}\n{}', /at line 2, column 1 "{" stands where the end is expected$/],
  ['with a comma too many', '{\n  "a": 1,\n}', /at line 3, column 1 "}" stands where a name in double quotes is/],
  ['with single quotes', "{'a':1}", /column 2 "'" stands where a name in double quotes or "}" is expected$/],
  ['without a comma', '{"a":1 "b":2}', /column 8 "\\"" stands where a comma or "}" is expected$/],
  ['with a comment', '{"a":1} // x', /column 9 "\/" stands where the end is expected$/],
  ['with a line break in a string', '{"a":"x\ny"}', /column 8 "\\n" stands where no control character: /],
  ['of Python’s words', '{"a":None}', /column 6 "N" stands where a value is expected$/],
  [
    'with a Windows path',
    '"C:\\x"',
    /column 5 "x" stands where one of " \\ \/ b f n r t u after a backslash is expected$/,
  ],
] as const) {
  test(`a body that is ${what} is one fault, which says where`, () => {
    const error = refusal(body);
    assert.equal([error.code, error.status, error.faults], ['request.malformed', 400, []]);
    assert.match(error.message, message);
  });
}

for (const [value, kind] of [
  ['[]', 'an array'],
  ['null', 'null'],
  ['7', 'a number'],
  ['true', 'a boolean'],
  ['"x"', 'a string'],
  ['"{\\"a\\":1}"', 'a string: it was encoded twice'],
] as const) {
  test(`the JSON value ${value} is one fault, since it is no object`, () => {
    const error = refusal(value);
    assert.equal([error.code, error.status], ['request.invalid', 400]);
    assert.equal(error.faults, [{ path: '$', message: `must be a JSON object, not ${kind}` }]);
  });
}

test('the message quotes one character of the body at most', () => {
  assert.not.match(refusal('{"password": "hunter2" "x"}').message, 'hunter2');
});

test('a fault is found in every text that JSON.parse refuses and in no other, and the text before it can go on', () => {
  const mutated = fc
    .tuple(
      fc.json(),
      fc.nat(),
      fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', ':', '0', '-', '.', 'e', '\n', 'tru'),
    )
    .map(([text, place, piece]) => {
      const at = place % (text.length + 1);
      return text.slice(0, at) + piece + text.slice(at + (place % 3));
    });
  holds(
    fc.property(fc.oneof(fc.json(), mutated, fc.string()), (text) => {
      const fault = findJsonFault(text);
      assert.is(fault === null, isJson(text), text);
      if (fault === null) return;
      // Cut off at its fault, the text merely ends too early (a number may end there).
      const cut = findJsonFault(text.slice(0, fault.offset));
      assert.ok(cut === null || cut.offset === fault.offset, text);
    }),
  );
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test.run();
