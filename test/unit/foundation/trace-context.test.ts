import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  maximumStateCharacters,
  parseTraceContext,
  startOperation,
  traceFields,
  traceHeadersOf,
} from '#lib/trace-context.ts';
import { holds } from '../holds.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';
const good = `00-${traceId}-${spanId}-01`;

test('a place in a trace is read, and written as it was', () => {
  const context = parseTraceContext({ traceparent: good, tracestate: 'a=1' });
  assert.equal(context, { traceId, spanId, sampled: true, state: 'a=1' });
  assert.ok(context !== null);
  assert.equal(traceHeadersOf(context), { traceparent: good, tracestate: 'a=1' });
  assert.equal(traceFields(context), { trace_id: traceId, span_id: spanId });
  assert.equal(traceFields(null), {});
});

test('flags that are not known are dropped, and so is what a later version appends', () => {
  const read = (traceparent: string) => {
    const context = parseTraceContext({ traceparent });
    return context === null ? null : traceHeadersOf(context).traceparent;
  };
  assert.is(read(`00-${traceId}-${spanId}-03`), good);
  assert.is(read(`00-${traceId}-${spanId}-fe`), `00-${traceId}-${spanId}-00`);
  assert.is(read(`cc-${traceId}-${spanId}-01`), good);
  assert.is(read(`cc-${traceId}-${spanId}-01-${'more'.repeat(100_000)}`), good);
});

const invalid: readonly (readonly [what: string, traceparent: string])[] = [
  ['is empty', ''],
  ['has the version that is forbidden', `ff-${traceId}-${spanId}-01`],
  ['has capital letters', `00-${traceId.toUpperCase()}-${spanId}-01`],
  ['has a trace id of zeros', `00-${'0'.repeat(32)}-${spanId}-01`],
  ['has a span id of zeros', `00-${traceId}-${'0'.repeat(16)}-01`],
  ['is longer than version 00', `${good}-more`],
  ['has a blank before it', ` ${good}`],
  ['has a blank behind it', `${good} `],
  ['has a line feed behind it', `${good}\n`],
  ['goes on without a dash in a later version', `cc-${traceId}-${spanId}-01.more`],
  ['is too short', good.slice(0, -1)],
  ['came twice', `${good}, ${good}`],
];
for (const [what, traceparent] of invalid) {
  test(`a traceparent that ${what} is ignored, and its tracestate with it`, () => {
    assert.is(parseTraceContext({ traceparent, tracestate: 'a=1' }), null);
  });
}

test('a missing traceparent is none, whatever the tracestate says', () => {
  assert.is(parseTraceContext({ tracestate: 'a=1' }), null);
});

const states: readonly (readonly [given: string, read: string])[] = [
  ['a=1', 'a=1'],
  ['rojo=00f067aa0ba902b7 ,\tcongo=t61rcWkgMzE', 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE'],
  ['a=1,, ,b=2', 'a=1,b=2'],
  ['0t@system-1=x y', '0t@system-1=x y'],
  ['a=1,a=2', ''],
  ['a=1,A=2', ''],
  ['a', ''],
  ['=1', ''],
  ['a=', ''],
  ['a=1=2', ''],
  ['a=ü', ''],
  ['a=1\u0000', ''],
  [`${'k'.repeat(257)}=1`, ''],
  [`a=${'v'.repeat(257)}`, ''],
  [`a=${'v'.repeat(256)}`, `a=${'v'.repeat(256)}`],
  [
    Array.from({ length: 32 }, (_, index) => `k${index}=1`).join(),
    Array.from({ length: 32 }, (_, index) => `k${index}=1`).join(),
  ],
  [Array.from({ length: 33 }, (_, index) => `k${index}=1`).join(), ''],
  [`a=1,${' '.repeat(maximumStateCharacters)}`, ''],
];
for (const [given, read] of states) {
  test(`the tracestate ${JSON.stringify(given.slice(0, 40))} of ${given.length} characters is ${read === '' ? 'left out' : 'kept'}`, () => {
    assert.is(parseTraceContext({ traceparent: good, tracestate: given })?.state, read);
  });
}

test('an operation stays in the trace of its parent, and begins a trace without one', () => {
  const parent = parseTraceContext({ traceparent: good, tracestate: 'a=1' });
  const child = startOperation(parent);
  assert.equal({ ...child, spanId }, parent);
  assert.not.equal(child.spanId, spanId);
  const [one, other] = [startOperation(null), startOperation(null)];
  assert.not.equal(one.traceId, other.traceId);
  assert.equal([one.sampled, one.state], [true, '']);
});

test('whatever the headers hold, the parser throws nothing, and what it accepts it reads again as it is', () => {
  const hex = fc.string({ unit: fc.constantFrom(...'0123456789abcdefF-'), minLength: 50, maxLength: 60 });
  const shaped = fc
    .tuple(
      fc.constantFrom('00', '01', 'cc', 'ff'),
      fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    )
    .map(
      ([version, trace, span]) =>
        `${version}-${trace.toString(16).padStart(32, '0')}-${span.toString(16).padStart(16, '0')}-01`,
    );
  const member = fc.string({ unit: fc.constantFrom(...'ab=@, \t\u00e9'), maxLength: 30 });
  holds(
    fc.property(fc.oneof(fc.string(), hex, shaped), fc.oneof(fc.string(), member), (traceparent, tracestate) => {
      const context = parseTraceContext({ traceparent, tracestate });
      if (context === null) return;
      const headers = traceHeadersOf(context);
      assert.match(headers.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
      assert.ok((headers.tracestate ?? '').length <= maximumStateCharacters);
      assert.equal(parseTraceContext({ ...headers }), context);
    }),
  );
});

test.run();
