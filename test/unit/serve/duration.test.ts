import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { requestedTimeoutMs } from '#lib/serve/duration.ts';
import { parseGoDuration } from '../../../template/node24-ts/duration.ts';

test("Go's durations and whole seconds are read", () => {
  const cases: [string, number][] = [
    ['2h', 7_200_000],
    ['90s', 90_000],
    ['1m5s', 65_000],
    ['1.5h', 5_400_000],
    ['300ms', 300],
    ['1h2m3s4ms', 3_723_004],
    ['250us', 0.25],
    ['250µs', 0.25],
    ['0', 0],
    ['0s', 0],
    ['15', 15_000],
  ];
  for (const [text, ms] of cases) assert.is(parseGoDuration(text), ms, text);
});

test('anything else is no duration', () => {
  for (const text of ['', 's', '-1s', '1 s', '1d', '1.s.2m', '1s2', 'forever', '1e3s', ' 1s']) {
    assert.is(parseGoDuration(text), undefined, text);
  }
});

test('X-Timeout is a duration with a unit that is longer than nothing, in whatever case its name is', () => {
  const cases: [string[], number | undefined][] = [
    [['Accept', '*/*', 'X-Timeout', '1.5s'], 1_500],
    [['x-timeout', '20ms', 'X-TIMEOUT', '1h'], 20],
    [['X-Timeout', '30'], undefined],
    [['X-Timeout', '0'], undefined],
    [['X-Timeout', '0s'], undefined],
    [['X-Timeout', '-1s'], undefined],
    [['X-Timeout', ''], undefined],
    [['X-Timeout', 'soon'], undefined],
    [[], undefined],
  ];
  for (const [headers, ms] of cases) assert.is(requestedTimeoutMs(headers), ms, headers.join(' '));
});

test.run();
