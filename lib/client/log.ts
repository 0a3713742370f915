import { pause } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Client } from './client.ts';

/** The log of a build as a caller reads it: whole, or line by line as it comes. */

/** A server-sent event (HTML Living Standard, 9.2.6), as far as logs have its fields. */
export interface LogEvent {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** Characters of a line beyond which the rest of it is dropped. */
const maximumLineCharacters = 64 * 1024;
const reconnectMs = 1_000;
/** Longest absence of the gateway. */
const patienceMs = 120_000;

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

/**
 * The lines of the log of a build as they come, until it has ended. Connects again where the connection is cut, and goes on
 * with the next line. Throws the error of the API, the last one when the gateway was away for two minutes, and the signal's
 * reason.
 */
export async function* followLog(client: Client, buildId: string, signal: AbortSignal): AsyncGenerator<string, void> {
  let last: string | undefined;
  let seenMs: number | undefined;
  for (;;) {
    try {
      for await (const { id, event, data } of client.logEvents(buildId, last)) {
        seenMs = performance.now();
        last = id;
        if (event === 'end') return;
        yield data;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ImageBuilderError) || !error.retryable) throw error;
      if (seenMs === undefined || performance.now() - seenMs >= patienceMs) throw error;
    }
    await pause(reconnectMs, signal);
    signal.throwIfAborted();
  }
}
