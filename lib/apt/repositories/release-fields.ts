import { plain } from '../../text.ts';
import type { ReleaseFields } from './repository.ts';

/** Characters of a value. */
const maximumCharacters = 200;

/** Reads the fields of a Release file (https://wiki.debian.org/DebianRepository/Format). The first of a name counts. */
export function parseReleaseFields(text: string): ReleaseFields {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const name = /^(Origin|Suite|Codename|Date|Valid-Until):/i.exec(line)?.[1]?.toLowerCase();
    if (name === undefined || values.has(name)) continue;
    values.set(name, plain(line.slice(name.length + 1, name.length + 1 + maximumCharacters)));
  }
  const value = (name: string) => values.get(name) || null;
  return {
    ...{ origin: value('origin'), suite: value('suite'), codename: value('codename') },
    ...{ date: parseReleaseDate(value('date') ?? ''), validUntil: parseReleaseDate(value('valid-until') ?? '') },
  };
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const form =
  /^(?:[A-Z][a-z]{2}, {1,2})?([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{1,2}):([0-9]{2}):([0-9]{2}) (?:UTC|GMT|Z|[+-]0000)$/;

/** A date of RFC 2822 in UTC, which is what apt takes, as ISO 8601; null for anything else. */
function parseReleaseDate(text: string): string | null {
  const [, day = '', month = '', ...numbers] = form.exec(text) ?? [];
  const [year = 0, hours = 0, minutes = 0, seconds = 0] = numbers.map(Number);
  const time = new Date(Date.UTC(year, months.indexOf(month), Number(day), hours, minutes, seconds));
  if (day === '' || !months.includes(month) || time.getUTCDate() !== Number(day) || time.getUTCHours() !== hours) {
    return null;
  }
  return time.toISOString().replace('.000Z', 'Z');
}
