import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cronMatches, parseCron } from '#lib/serve/cron.ts';
import { runSchedule } from '#lib/serve/schedule.ts';

const matches = (text: string, time: string): boolean => {
  const schedule = parseCron(text);
  assert.ok(schedule, text);
  return cronMatches(schedule, Date.parse(time));
};

test('schedules match the minutes that cron says, in UTC', () => {
  const cases: [string, string, boolean][] = [
    ['* * * * *', '2026-03-01T12:34:56Z', true],
    ['*/5 * * * *', '2026-03-01T12:35:00Z', true],
    ['*/5 * * * *', '2026-03-01T12:36:00Z', false],
    ['7/20 * * * *', '2026-03-01T12:47:00Z', true],
    ['10-20/5 * * * *', '2026-03-01T12:15:00Z', true],
    ['10-20/5 * * * *', '2026-03-01T12:25:00Z', false],
    ['0,30 9-17 * * mon-fri', '2026-03-02T17:30:00Z', true],
    ['0,30 9-17 * * mon-fri', '2026-03-01T17:30:00Z', false],
    ['0 0 1 jan,JUL *', '2026-07-01T00:00:00Z', true],
    ['0 0 * * 7', '2026-03-01T00:00:00Z', true],
    ['0 0 * * 5-7', '2026-03-01T00:00:00Z', true],
    ['0 0 13 * 5', '2026-03-13T00:00:00Z', true],
    ['0 0 13 * 5', '2026-03-06T00:00:00Z', true],
    ['0 0 12 * 5', '2026-03-12T00:00:00Z', true],
    ['0 0 */2 * 1', '2026-03-02T00:00:00Z', true],
    ['0 0 */2 * 1', '2026-03-04T00:00:00Z', false],
    ['0 0 1,* * 1', '2026-03-03T00:00:00Z', false],
    ['0 0 ? * 1', '2026-03-02T00:00:00Z', true],
    ['@hourly', '2026-03-01T05:00:00Z', true],
    ['@hourly', '2026-03-01T05:01:00Z', false],
    ['  0 0 29 2 *  ', '2028-02-29T00:00:00Z', true],
  ];
  for (const [text, time, expected] of cases) assert.is(matches(text, time), expected, `${text} at ${time}`);
});

test('text that is no schedule is refused', () => {
  const wrong = ['', '* * * *', '* * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 *'];
  for (const text of [
    ...wrong,
    '* * * * 8',
    '*/0 * * * *',
    '20-10 * * * *',
    '*-5 * * * *',
    '1,,2 * * * *',
    'x * * * *',
    '@every 1m',
    '-1 * * * *',
    '/5 * * * *',
    '* * L * *',
    '* * 15W * *',
    '* * * * 5#2',
  ]) {
    assert.is(parseCron(text), undefined, text);
  }
});

test('each minute fires once, one that was slept through not at all', async () => {
  const schedule = parseCron('* * * * *');
  assert.ok(schedule);
  const stop = new AbortController();
  const fired: string[] = [];
  // A timer that ends early, one that ends in time, and a machine that was suspended for an hour.
  const wakes = ['12:00:59.990Z', '12:01:00.001Z', '12:02:00.000Z', '13:02:30.000Z', '13:03:00.000Z'];
  let now = Date.parse('2026-03-01T12:00:30Z');
  const clock = {
    now: () => now,
    sleep: async () => {
      const wake = wakes.shift();
      if (wake === undefined) stop.abort();
      else now = Date.parse(`2026-03-01T${wake}`);
      if (wake === undefined) throw new Error('aborted');
    },
  };
  const fire = () => fired.push(new Date(now).toISOString().slice(11, 16));
  await runSchedule([{ schedule, fire }], clock, stop.signal);
  assert.equal(fired, ['12:01', '12:02', '13:02', '13:03']);
});

test.run();
