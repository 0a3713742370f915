import { ApiError, call, send } from './calls.js';
import { readEvents } from './sse.js';
import { pause } from './wait.js';

/** The status as it changes: by the stream of events, or by polling where no stream gets through. */

/**
 * @import { Problem } from '#lib/api/problem.ts'
 * @import { Status } from '#lib/api/status.ts'
 * @import { Addresses } from './addresses.js'
 *
 * @typedef {'connecting' | 'live' | 'polling' | 'offline'} Connection
 *
 * @typedef {object} FeedOptions
 * @property {Addresses} addresses
 * @property {string} query Of the status document, with `?`; empty: the overview.
 * @property {(status: Status) => void} onStatus
 * @property {(connection: Connection, reason: string) => void} onConnection
 * @property {(problem: Problem) => void} onProblem An error that trying again does not mend: the feed has ended.
 */

/** The first event comes within this time, or something on the way holds the stream back. */
const firstEventMs = 6_000;
/** The service shows itself every ten seconds, more or less. */
const silenceMs = 40_000;
const pollMs = { least: 2_000, most: 5_000 };
const retryMs = { least: 500, most: 10_000 };
/** Polls between two attempts at a stream. */
const pollsBeforeStream = 10;

/**
 * Follows the status until it is closed.
 *
 * @param {FeedOptions} options
 */
export function openFeed(options) {
  const closed = new AbortController();
  void follow(options, closed.signal);
  return { close: () => closed.abort() };
}

/**
 * @param {FeedOptions} options
 * @param {AbortSignal} closed
 */
async function follow(options, closed) {
  const { addresses, query, onConnection, onProblem } = options;
  let failures = 0;
  let pollsLeft = 0;
  /** @param {Status} status */
  const show = (status) => {
    if (!closed.aborted) options.onStatus(status);
  };
  onConnection('connecting', '');
  while (!closed.aborted) {
    try {
      if (pollsLeft === 0) {
        const streamed = await readStream(`${addresses.events}${query}`, closed, (status) => {
          failures = 0;
          onConnection('live', '');
          show(status);
        });
        if (streamed) continue;
        pollsLeft = pollsBeforeStream;
      }
      show(await call(`${addresses.status}${query}`, { signal: within(closed, silenceMs) }));
      failures = 0;
      onConnection('polling', 'Live updates do not get through; looking every few seconds instead.');
      pollsLeft -= 1;
      await pause(
        pollMs.least + ((pollMs.most - pollMs.least) * (pollsBeforeStream - pollsLeft)) / pollsBeforeStream,
        closed,
      );
    } catch (error) {
      if (closed.aborted) return;
      if (error instanceof ApiError && isFinal(error.problem)) {
        onProblem(error.problem);
        return;
      }
      failures += 1;
      pollsLeft = 0;
      const reason = error instanceof ApiError ? error.message : 'The service cannot be reached.';
      onConnection('offline', reason);
      await pause(Math.min(retryMs.most, retryMs.least * 2 ** failures), closed);
    }
  }
}

/**
 * Reads one stream to its end. False: nothing came through it, although the service answers. Throws an ApiError that the
 * service answers with, or sends as an event, and otherwise what fetch throws where there is no service.
 *
 * @param {string} url
 * @param {AbortSignal} closed
 * @param {(status: Status) => void} onStatus
 */
async function readStream(url, closed, onStatus) {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), firstEventMs);
  let events = 0;
  try {
    const signal = AbortSignal.any([closed, silent.signal]);
    const response = await send(url, { headers: { accept: 'text/event-stream' }, signal });
    for await (const part of readEvents(response)) {
      if (events > 0) {
        clearTimeout(timer);
        timer = setTimeout(() => silent.abort(), silenceMs);
      }
      for (const { type, data } of part) {
        if (type === 'problem') throw new ApiError(JSON.parse(data));
        if (type !== 'status') continue;
        events += 1;
        onStatus(JSON.parse(data));
      }
    }
    return events > 0;
  } catch (error) {
    if (closed.aborted || (error instanceof ApiError && error.problem.code !== 'worker.busy')) throw error;
    // After news, the next attempt is at once: the first of them says whether the service is there.
    return events > 0;
  } finally {
    clearTimeout(timer);
  }
}

/** @param {Problem} problem */
function isFinal({ status }) {
  return status === 401 || status === 403 || status === 404 || status === 400;
}

/**
 * @param {AbortSignal} signal
 * @param {number} ms
 */
function within(signal, ms) {
  return AbortSignal.any([signal, AbortSignal.timeout(ms)]);
}
