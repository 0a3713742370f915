import { inspect } from 'node:util';

/** Logging: one JSON object per line on standard error. A stack stays within its line. */

type Fields = Readonly<Record<string, unknown>>;

/** Writes one line. An Error among `fields` is written with its stack and causes. */
export function log(level: 'info' | 'warn' | 'error', message: string, fields: Fields = {}): void {
  const entry = { time: new Date().toISOString(), level, message, ...fields };
  process.stderr.write(`${toJson(entry)}\n`);
}

function toJson(entry: Fields): string {
  try {
    return JSON.stringify(entry, errorsToObjects);
  } catch {
    // Anything can be thrown, and anything can be the cause of an error: circular objects, bigints.
    return JSON.stringify({ ...entry, error: inspect(entry.error) });
  }
}

function errorsToObjects(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const { name, message, stack, cause } = value;
  return { name, message, stack, cause, errors: value instanceof AggregateError ? value.errors : undefined };
}
