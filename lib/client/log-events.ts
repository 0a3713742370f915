/** Reading lines and server-sent events as they come. */

/** A server-sent event (HTML Living Standard, 9.2.6), as far as logs have its fields. */
export interface LogEvent {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** Characters of a line beyond which the rest of it is dropped. */
const maximumLineCharacters = 64 * 1024;

/** The lines of a text in UTF-8, without their ends. */
export async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let parts: string[] = [];
  let length = 0;
  for await (const chunk of body) {
    const [first = '', ...more] = decoder.decode(chunk, { stream: true }).split('\n');
    for (const [index, text] of [first, ...more].entries()) {
      if (index > 0) {
        yield parts.join('');
        parts = [];
        length = 0;
      }
      if (length < maximumLineCharacters) parts.push(text.slice(0, maximumLineCharacters - length));
      length += text.length;
    }
  }
  if (length > 0) yield parts.join('');
}

/** The events of a stream; comments are left out. */
export async function* eventsOf(body: AsyncIterable<Buffer>): AsyncGenerator<LogEvent, void> {
  let fields: Partial<LogEvent> = {};
  for await (const line of linesOf(body)) {
    if (line === '') {
      const { id = '', event = 'message', data } = fields;
      if (data !== undefined) yield { id, event, data };
      fields = {};
      continue;
    }
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0));
    const value = line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'id' || name === 'event' || name === 'data') fields = { ...fields, [name]: value };
  }
}
