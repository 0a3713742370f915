import { z } from 'zod';
import { plain } from './text.ts';

/** Lines of the log for people: the JSON of `lib/log.ts` and of the template as words. */

const Entry = z.looseObject({
  time: z.iso.datetime().optional(),
  level: z.string().default('info'),
  message: z.string(),
  function: z.string().optional(),
});
const Thrown = z.looseObject({ name: z.string(), message: z.string(), stack: z.string().optional() });

/** Frames of the stack of an unforeseen error. */
const mostFrames = 8;
/** Room for the names of the functions. */
const functionColumns = 12;

/**
 * `21:14:07 gateway       function ready  pid=4711`, in local time; the level only from `warn` on. An error that was not
 * foreseen has its stack below. Other text than a log's JSON stays a line as it is.
 * `writer` is the function that wrote the line, where the line does not say so.
 */
export function describeLogLine(line: string, writer = ''): string {
  const entry = Entry.safeParse(toJson(line)).data;
  if (entry === undefined) return `${/^ */.exec(line)?.[0] ?? ''}${plain(line)}`;
  const { time, level, message, function: name = writer, ...fields } = entry;
  const at = (time === undefined ? '' : new Date(time).toTimeString().slice(0, 8)).padEnd(8);
  const loud = ['warn', 'error'].includes(level) ? `${level.toUpperCase()} ` : '';
  const words = Object.entries(fields).map(([key, value]) => `${plain(key)}=${describeValue(value)}`);
  const start = `${at} ${plain(name).padEnd(functionColumns)}  ${loud}${plain(message)}`;
  return [[start, ...words].join('  '), ...Object.values(fields).flatMap(stackOf)].join('\n');
}

function describeValue(value: unknown): string {
  const text = describeThrown(value) ?? (typeof value === 'string' ? value : JSON.stringify(value));
  const shown = plain(text);
  return /^[^\s"=]+$/.test(shown) ? shown : JSON.stringify(shown);
}

/** The message of an error with those of its causes; undefined for other values. */
function describeThrown(value: unknown): string | undefined {
  const messages: string[] = [];
  // A value that was parsed from JSON has no circles.
  for (let next: unknown = value; ; ) {
    const thrown = Thrown.safeParse(next).data;
    if (thrown === undefined) break;
    if (!messages.some((message) => message.includes(thrown.message))) messages.push(thrown.message);
    next = thrown.cause;
  }
  return messages.length === 0 && !Thrown.safeParse(value).success ? undefined : messages.join(', because: ');
}

function stackOf(value: unknown): string[] {
  const thrown = Thrown.safeParse(value).data;
  if (thrown?.stack === undefined || thrown.name === 'ImageBuilderError') return [];
  const frames = thrown.stack.split('\n').filter((line) => line.trimStart().startsWith('at '));
  return frames.slice(0, mostFrames).map((frame) => `    ${plain(frame)}`);
}

function toJson(line: string): unknown {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
