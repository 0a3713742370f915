/** Says where a text stops being JSON (RFC 8259). JSON.parse names the place of some faults only, and quotes the text. */

export interface JsonFault {
  /** Offset of the first character that cannot stand there; the length of the text where it ends too early. */
  readonly offset: number;
  /** The thing that should stand there, for people. */
  readonly expected: string;
}

const expectations = {
  value: 'a value',
  'value or end': 'a value or "]"',
  name: 'a name in double quotes',
  'name or end': 'a name in double quotes or "}"',
  colon: '":"',
  'after a member': 'a comma or "}"',
  'after an item': 'a comma or "]"',
  'after the value': 'the end',
} as const;
type Expectation = keyof typeof expectations;

const blanks = new Set([' ', '\t', '\n', '\r']);
const literals = ['true', 'false', 'null'] as const;
const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

/** The place up to which the text is JSON, and what may come next. */
interface Cursor {
  at: number;
  expected: Expectation;
  /** The closing brackets that are still due. */
  readonly due: ('}' | ']')[];
}

/** Finds the first fault of a text that should be one JSON value; null where it is one. One pass, without recursion. */
export function findJsonFault(text: string): JsonFault | null {
  const cursor: Cursor = { at: 0, expected: 'value', due: [] };
  for (;;) {
    while (blanks.has(text.charAt(cursor.at))) cursor.at += 1;
    if (cursor.at === text.length && cursor.expected === 'after the value') return null;
    const fault = cursor.at === text.length ? faultAt(cursor) : takeNext(text, cursor);
    if (fault !== null) return fault;
  }
}

/** Moves over the next token; returns the fault where it cannot stand there. */
function takeNext(text: string, cursor: Cursor): JsonFault | null {
  const char = text.charAt(cursor.at);
  const mayClose = cursor.expected.endsWith('or end') || cursor.expected.startsWith('after a');
  if (mayClose && char === cursor.due.at(-1)) {
    cursor.due.pop();
    return go(cursor, cursor.at + 1, afterValue(cursor));
  }
  switch (cursor.expected) {
    case 'colon':
      return char === ':' ? go(cursor, cursor.at + 1, 'value') : faultAt(cursor);
    case 'after a member':
      return char === ',' ? go(cursor, cursor.at + 1, 'name') : faultAt(cursor);
    case 'after an item':
      return char === ',' ? go(cursor, cursor.at + 1, 'value') : faultAt(cursor);
    case 'after the value':
      return faultAt(cursor);
    case 'name':
    case 'name or end':
      return char === '"' ? takeString(text, cursor, 'colon') : faultAt(cursor);
    case 'value':
    case 'value or end':
      return takeValue(text, cursor, char);
  }
}

function takeValue(text: string, cursor: Cursor, char: string): JsonFault | null {
  if (char === '{' || char === '[') {
    cursor.due.push(char === '{' ? '}' : ']');
    return go(cursor, cursor.at + 1, char === '{' ? 'name or end' : 'value or end');
  }
  if (char === '"') return takeString(text, cursor, afterValue(cursor));
  const end = endOfScalar(text, cursor.at);
  return end === null ? faultAt(cursor) : go(cursor, end, afterValue(cursor));
}

function takeString(text: string, cursor: Cursor, next: Expectation): JsonFault | null {
  const end = endOfString(text, cursor.at);
  return typeof end === 'number' ? go(cursor, end, next) : end;
}

function afterValue({ due }: Cursor): Expectation {
  const closing = due.at(-1);
  if (closing === undefined) return 'after the value';
  return closing === '}' ? 'after a member' : 'after an item';
}

function go(cursor: Cursor, at: number, expected: Expectation): null {
  cursor.at = at;
  cursor.expected = expected;
  return null;
}

function faultAt({ at, expected }: Cursor): JsonFault {
  return { offset: at, expected: expectations[expected] };
}

/** The end of a number or of `true`, `false` or `null`; null where there is none of them. */
function endOfScalar(text: string, at: number): number | null {
  const literal = literals.find((word) => text.startsWith(word, at));
  if (literal !== undefined) return at + literal.length;
  number.lastIndex = at;
  return number.test(text) ? number.lastIndex : null;
}

/** The end of the string that begins at `start`, or its fault. */
function endOfString(text: string, start: number): number | JsonFault {
  for (let at = start + 1; ; at += 1) {
    const char = text.charAt(at);
    if (char === '"') return at + 1;
    if (char === '') return { offset: at, expected: 'a double quote at the end of the string' };
    if (char < ' ') return { offset: at, expected: 'no control character: \\n, \\t or \\u00XX stands for one' };
    if (char !== '\\') continue;
    at += 1;
    const escaped = text.charAt(at);
    if (escaped === 'u') {
      for (let digit = 1; digit <= 4; digit += 1) {
        if (!/^[0-9a-fA-F]$/.test(text.charAt(at + digit))) {
          return { offset: at + digit, expected: 'one of four hexadecimal digits' };
        }
      }
      at += 4;
    } else if (escaped === '' || !'"\\/bfnrt'.includes(escaped)) {
      return { offset: at, expected: 'one of " \\ / b f n r t u after a backslash' };
    }
  }
}
