/** Logs as server-sent events (HTML Living Standard, 9.2): one for each line, whose id is the place where the next begins. */

/** Milliseconds after which a caller whose stream has ended connects again. */
export const firstLogWords = 'retry: 1000\n\n';

/** A worker's lines are shorter: a stored text with a longer one is none of its logs, and is cut anywhere. */
const maximumLineBytes = 65_536;

/** The build of a log; `state` is null where it is not known any more. */
export interface LoggedBuild {
  readonly buildId: string;
  readonly state: string | null;
}

/** Events of a log that is whole, from the byte `first` on, where `text` begins. */
export async function* storedLogEvents(
  text: AsyncIterable<Buffer>,
  build: LoggedBuild,
  first: number,
): AsyncGenerator<string, void> {
  yield firstLogWords;
  let at = first;
  let rest = Buffer.alloc(0);
  for await (const chunk of text) {
    const known = Buffer.concat([rest, chunk]);
    const lines = known.lastIndexOf(0x0a) + 1;
    const end = lines === 0 && known.length > maximumLineBytes ? known.length : lines;
    if (end > 0) yield logEventsOf(known.subarray(0, end), at);
    at += end;
    rest = known.subarray(end);
  }
  if (rest.length > 0) yield logEventsOf(rest, at);
  yield logEndEvent(build, at + rest.length);
}

/** Events of a text of whole lines that begins at `from`. */
export function logEventsOf(text: Buffer, from: number): string {
  const events: string[] = [];
  for (let start = 0; start < text.length; ) {
    const found = text.indexOf(0x0a, start);
    const end = found < 0 ? text.length : found;
    events.push(`id: ${from + Math.min(end + 1, text.length)}\ndata: ${text.toString('utf8', start, end)}\n\n`);
    start = end + 1;
  }
  return events.join('');
}

/** The last event: how the build has ended. */
export function logEndEvent({ buildId, state }: LoggedBuild, at: number): string {
  return `id: ${at}\nevent: end\ndata: ${JSON.stringify({ build_id: buildId, state })}\n\n`;
}
