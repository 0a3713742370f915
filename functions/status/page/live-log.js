import { ApiError, send } from './calls.js';
import { readEvents } from './sse.js';
import { pause, untilVisible } from './wait.js';

/** The log of a build as it grows: by the stream of its lines, or by polling where no stream gets through. */

/**
 * @typedef {'live' | 'polling' | 'away' | 'ended' | 'elsewhere'} LogState `elsewhere`: a store has the rest.
 *
 * @typedef {object} LogFeedOptions
 * @property {string} url Of the log.
 * @property {string} storedUrl Of the log in the store, once RabbitMQ has its lines no more.
 * @property {() => boolean} hasEnded True once the page knows that the build has ended.
 * @property {(lines: readonly string[]) => void} onLines
 * @property {() => void} onRestart All lines come again.
 * @property {(state: LogState) => void} onState
 */

/** The service begins each stream at once, or something on the way holds it back. */
const firstWordsMs = 6_000;
/** The service shows itself every fifteen seconds. */
const silenceMs = 40_000;
const pollMs = 3_000;
const retryMs = { least: 1_000, most: 10_000 };
/** Polls between two attempts at a stream. */
const pollsBeforeStream = 10;

/**
 * Follows the log to its end, or until it is closed. While the page cannot be seen it rests: a browser opens six
 * connections to a server, for all of its tabs.
 *
 * @param {LogFeedOptions} options
 */
export function followLog(options) {
  const closed = new AbortController();
  void follow(options, closed.signal);
  return { close: () => closed.abort() };
}

/**
 * @param {LogFeedOptions} options
 * @param {AbortSignal} closed
 */
async function follow(options, closed) {
  const { onState } = options;
  const place = { at: 0 };
  let failures = 0;
  let pollsLeft = 0;
  while (!closed.aborted) {
    try {
      await untilVisible(closed);
      if (pollsLeft === 0) {
        const result = await readStream(options, place, closed);
        if (result === 'ended') return onState('ended');
        if (result === 'held back') pollsLeft = pollsBeforeStream;
      } else {
        const result = await readRest(options, place, closed);
        if (result !== 'going on') return onState(result);
        onState('polling');
        pollsLeft -= 1;
        await pause(pollMs, closed);
      }
      failures = 0;
    } catch (error) {
      if (closed.aborted) return;
      onState('away');
      // The feed of the status says why, and the view goes where that is for good.
      if (error instanceof ApiError && [400, 401, 403].includes(error.problem.status)) return;
      failures += 1;
      pollsLeft = 0;
      await pause(Math.min(retryMs.most, retryMs.least * 2 ** failures), closed);
    }
  }
}

/**
 * Reads one stream from the place on, and moves the place along.
 *
 * @param {LogFeedOptions} options
 * @param {{ at: number }} place
 * @param {AbortSignal} closed
 * @returns {Promise<'ended' | 'cut' | 'held back'>}
 */
async function readStream({ url, storedUrl, onLines, onState }, place, closed) {
  const silent = new AbortController();
  const onVisibility = () => document.hidden && silent.abort();
  document.addEventListener('visibilitychange', onVisibility);
  let timer = setTimeout(() => silent.abort(), firstWordsMs);
  let came = false;
  try {
    const headers = {
      accept: 'text/event-stream',
      ...(place.at > 0 ? { 'last-event-id': String(place.at) } : {}),
    };
    const signal = AbortSignal.any([closed, silent.signal]);
    let response = await send(`${url}?follow`, { headers, redirect: 'manual', signal });
    if (response.type === 'opaqueredirect') response = await send(`${storedUrl}?follow`, { headers, signal });
    for await (const events of readEvents(response)) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), silenceMs);
      came = true;
      onState('live');
      onLines(events.filter(({ type }) => type === 'message').map(({ data }) => data));
      const id = events.findLast((event) => event.id !== '')?.id;
      if (id !== undefined) place.at = Number(id);
      if (events.some(({ type }) => type === 'end')) return 'ended';
    }
  } catch (error) {
    if (closed.aborted || (error instanceof ApiError && error.problem.code !== 'worker.busy')) throw error;
    if (!came && !silent.signal.aborted && !(error instanceof ApiError)) throw error;
  } finally {
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', onVisibility);
  }
  if (came) await pause(retryMs.least, closed);
  return came || document.hidden ? 'cut' : 'held back';
}

/**
 * Reads the lines from the place on, and moves the place along. Once the build has ended, all of them again: the log in the
 * store begins with the last attempt.
 *
 * @param {LogFeedOptions} options
 * @param {{ at: number }} place
 * @param {AbortSignal} closed
 * @returns {Promise<'going on' | 'ended' | 'elsewhere'>}
 */
async function readRest({ url, hasEnded, onLines, onRestart }, place, closed) {
  const ended = hasEnded();
  const from = ended ? 0 : place.at;
  const signal = AbortSignal.any([closed, AbortSignal.timeout(silenceMs)]);
  try {
    const headers = from === 0 ? {} : { range: `bytes=${from}-` };
    const response = await send(url, { headers, redirect: 'manual', signal });
    if (response.type === 'opaqueredirect') return 'elsewhere';
    const bytes = new Uint8Array(await response.arrayBuffer());
    const part = response.status === 206 ? bytes : bytes.subarray(from);
    const end = part.lastIndexOf(0x0a) + 1;
    if (ended) onRestart();
    onLines(new TextDecoder().decode(part.subarray(0, end)).split('\n').slice(0, -1));
    place.at = from + end;
  } catch (error) {
    // Nothing is there from this place on.
    if (!(error instanceof ApiError && error.problem.status === 416)) throw error;
  }
  return ended ? 'ended' : 'going on';
}
