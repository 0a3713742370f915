/** Server-sent events, read by fetch: EventSource cannot send a token. Lines end with a line feed, as the service writes them. */

/** Far more than a status of a thousand builds that run. */
const maximumCharacters = 32 * 1024 * 1024;

/**
 * @typedef {object} ServerEvent
 * @property {string} type
 * @property {string} id Empty where the event has none.
 * @property {string} data
 */

/**
 * A reader of events: takes the text as it comes, and returns the events that are whole with it. Throws an Error for an
 * event without an end.
 *
 * @returns {(text: string) => ServerEvent[]}
 */
export function createEventReader() {
  /** @type {string[]} */
  let rest = [];
  let length = 0;
  return (text) => {
    length += text.length;
    if (length > maximumCharacters) throw new Error('an event of the service is too large');
    const last = rest.at(-1) ?? '';
    rest.push(text);
    // The end of an event may lie across two parts.
    if (!`${last.slice(-1)}${text}`.includes('\n\n')) return [];
    const blocks = rest.join('').split('\n\n');
    const open = blocks.pop() ?? '';
    rest = [open];
    length = open.length;
    return blocks.flatMap(parseEvent);
  };
}

/**
 * The events of an answer, in parts as they come. A part without an event shows that the stream lives.
 *
 * @param {Response} response
 * @returns {AsyncGenerator<ServerEvent[], void>}
 */
export async function* readEvents({ body }) {
  if (body === null) return;
  const read = createEventReader();
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield read(part.value);
  } finally {
    // Also where its user has had enough: the connection is one of the few that a browser keeps.
    await reader.cancel().catch(() => {});
  }
}

/**
 * No event for a block that holds comments only.
 *
 * @param {string} block
 * @returns {ServerEvent[]}
 */
function parseEvent(block) {
  const event = { type: 'message', id: '' };
  /** @type {string[]} */
  const data = [];
  let named = false;
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'data') data.push(value);
    else if (name === 'id') event.id = value;
    else if (name === 'event') {
      event.type = value;
      named = true;
    }
  }
  return named || data.length > 0 ? [{ ...event, data: data.join('\n') }] : [];
}
