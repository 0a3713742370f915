import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { isEventStream } from '../../template/node24-ts/event-stream.ts';
import { ImageBuilderError } from '../errors.ts';
import { type Call, callFunction } from './call.ts';
import { endToEnd, gatewayHeaders, pairs, seconds } from './headers.ts';
import { type ServedFunction, startTimeLimit } from './served-function.ts';

/**
 * `/function/NAME`: passes the call on and the answer back as it comes. A stream of events may last, and holds no place
 * of a call. Throws the error for `sendProblem`; resolves
 * when the answer has gone out or the caller has gone.
 */
export async function serveSyncCall(served: ServedFunction, call: Call, response: ServerResponse): Promise<void> {
  const { definition } = served;
  const release = served.slots.tryTake();
  if (release === undefined) {
    throw new ImageBuilderError(
      'worker.busy',
      `${definition.maximumInflight} calls of the function ${definition.name} are running, as many as it takes at once`,
      { retryAfterSeconds: 5 },
    );
  }
  const startedAt = performance.now();
  const callerGone = new AbortController();
  const onClose = () => callerGone.abort();
  response.once('close', onClose);
  using limit = startTimeLimit(definition, call.headers);
  try {
    served.calls += 1;
    const signal = AbortSignal.any([limit.signal, callerGone.signal]);
    const answer = await callFunction(served.process, call, signal);
    response.statusCode = answer.statusCode ?? 502;
    if (answer.statusMessage) response.statusMessage = answer.statusMessage;
    response.setHeader('X-Duration-Seconds', seconds(performance.now() - startedAt));
    for (const [name, value] of pairs(endToEnd(answer.rawHeaders, gatewayHeaders))) response.appendHeader(name, value);
    if (isEventStream(answer.headers['content-type'])) {
      limit[Symbol.dispose]();
      release();
      response.flushHeaders();
    }
    await pipeline(answer, response);
  } catch (error) {
    if (callerGone.signal.aborted) return;
    if (!response.headersSent) response.setHeader('X-Duration-Seconds', seconds(performance.now() - startedAt));
    throw error;
  } finally {
    response.off('close', onClose);
    release();
  }
}
