/**
 * Standard cron schedules: five fields (minute, hour, day of month, month, day of week) with `*`, lists, ranges, steps
 * and English names, or one of `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Times are UTC, as in the
 * containers of OpenFaaS's cron-connector. As there (robfig/cron v3, parser.go), either day may match where both are
 * restricted, and an asterisk with a step restricts a day.
 */
export interface CronSchedule {
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly daysOfMonth: ReadonlySet<number>;
  /** 1 to 12. */
  readonly months: ReadonlySet<number>;
  /** 0 (Sunday) to 6. */
  readonly daysOfWeek: ReadonlySet<number>;
  readonly eitherDay: boolean;
}

const monthNames = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const dayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const descriptors: Readonly<Record<string, string>> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
};

/** Reads a schedule. Returns undefined for text that is not one. */
export function parseCron(text: string): CronSchedule | undefined {
  const fields = (descriptors[text.trim()] ?? text).trim().split(/\s+/);
  if (fields.length !== 5) return undefined;
  const [minute = '', hour = '', dayOfMonth = '', month = '', dayOfWeek = ''] = fields;
  const minutes = parseField(minute, 0, 59);
  const hours = parseField(hour, 0, 23);
  const daysOfMonth = parseField(dayOfMonth, 1, 31);
  const months = parseField(month, 1, 12, monthNames, 1);
  const weekDays = parseField(dayOfWeek, 0, 7, dayNames, 0);
  if (!minutes || !hours || !daysOfMonth || !months || !weekDays) return undefined;
  const daysOfWeek = new Set([...weekDays].map((day) => day % 7));
  return {
    minutes,
    hours,
    daysOfMonth,
    months,
    daysOfWeek,
    eitherDay: ![dayOfMonth, dayOfWeek].some((field) => /(^|,)[*?](\/1)?(,|$)/.test(field)),
  };
}

/** Whether the minute of `time` (milliseconds since the epoch) is in the schedule. */
export function cronMatches(schedule: CronSchedule, time: number): boolean {
  const date = new Date(time);
  const dayOfMonth = schedule.daysOfMonth.has(date.getUTCDate());
  const dayOfWeek = schedule.daysOfWeek.has(date.getUTCDay());
  return (
    schedule.minutes.has(date.getUTCMinutes()) &&
    schedule.hours.has(date.getUTCHours()) &&
    schedule.months.has(date.getUTCMonth() + 1) &&
    (schedule.eitherDay ? dayOfMonth || dayOfWeek : dayOfMonth && dayOfWeek)
  );
}

function parseField(
  text: string,
  least: number,
  most: number,
  names: readonly string[] = [],
  firstName = 0,
): Set<number> | undefined {
  const number = (part: string): number => {
    const index = names.indexOf(part.toLowerCase());
    return index >= 0 ? index + firstName : /^[0-9]{1,2}$/.test(part) ? Number(part) : Number.NaN;
  };
  const values = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^([^/-]+)(?:-([^/-]+))?(?:\/([0-9]{1,2}))?$/.exec(part);
    if (match?.[1] === undefined) return undefined;
    const [, from, to, stepText] = match;
    const any = from === '*' || from === '?';
    if (any && to !== undefined) return undefined;
    const step = stepText === undefined ? 1 : Number(stepText);
    const first = any ? least : number(from);
    const last = any ? most : to !== undefined ? number(to) : stepText === undefined ? first : most;
    // NaN fails every comparison, hence the positive form.
    if (!(first >= least && last <= most && first <= last && step >= 1)) return undefined;
    for (let value = first; value <= last; value += step) values.add(value);
  }
  return values;
}
