import { toProblem } from '../api/problem.ts';
import { sleep } from '../async.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { callFunction } from './call.ts';
import type { Answer } from './callback.ts';
import type { Callbacks } from './callbacks.ts';
import { type RawHeaders, startTimeNow } from './headers.ts';
import { type ServedFunction, startTimeLimit } from './served-function.ts';
import { answerAsWatchdog } from './watchdog.ts';

/** A call that was answered with 202 and is made later. */
export interface AsyncCall {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly headers: RawHeaders;
  readonly body: Buffer;
  /** URL that gets the answer; undefined: none. */
  readonly callbackUrl: string | undefined;
}

/** The queue of one function, in memory: first come first served, `max_inflight` at a time (default one). */
export interface AsyncQueue {
  /**
   * Throws `worker.busy` when the queue is full, `worker.stopping` when it was stopped. For a function that takes no
   * body only one call waits: later calls carry no more than it does, and merge into it.
   */
  add(call: AsyncCall): void;
  /** Whether a call has not begun yet. */
  isWaiting(id: string): boolean;
  /** Drops calls that have not begun; resolves with their number once those that have begun are over. */
  stop(): Promise<number>;
}

const maximumLength = 10_000;
const maximumBytes = 64 * 1024 * 1024;
/** A larger answer is not sent to a callback URL, since answers are kept in memory. */
const maximumAnswerBytes = 16 * 1024 * 1024;
/** Number of repetitions of a call that the function itself refuses with 429, and the pause between them. */
const maximumRefusals = 10;
const retryDelayMs = 5_000;

export interface AsyncQueueOptions {
  /** Sends answers to callback URLs. */
  readonly callbacks: Callbacks;
  readonly log: Log;
  /** Aborting it gives up the calls that are running. */
  readonly force: AbortSignal;
}

/** Creates the queue of a function. */
export function createAsyncQueue(served: ServedFunction, options: AsyncQueueOptions): AsyncQueue {
  const { definition } = served;
  const concurrency = definition.maximumInflight ?? 1;
  const waiting: AsyncCall[] = [];
  const running = new Set<Promise<void>>();
  let waitingBytes = 0;
  let stopped = false;

  const pump = () => {
    while (!stopped && running.size < concurrency) {
      const call = waiting.shift();
      if (call === undefined) return;
      waitingBytes -= bytesOf(call);
      const run = runCall(served, call, options).finally(() => {
        running.delete(run);
        pump();
      });
      running.add(run);
    }
  };

  return {
    add(call) {
      if (stopped) throw new ImageBuilderError('worker.stopping', 'the gateway is stopping', { retryAfterSeconds: 5 });
      if (definition.body.maximumBytes === 0 && waiting.length > 0) return;
      if (waiting.length >= maximumLength || waitingBytes + bytesOf(call) > maximumBytes) {
        throw new ImageBuilderError('worker.busy', `the queue of the function ${definition.name} is full`, {
          retryAfterSeconds: 30,
        });
      }
      waiting.push(call);
      waitingBytes += bytesOf(call);
      pump();
    },
    isWaiting: (id) => waiting.some((call) => call.id === id),
    async stop() {
      stopped = true;
      const dropped = waiting.splice(0).length;
      await Promise.all(running);
      return dropped;
    },
  };
}

type AnswerOfCall = Omit<Answer, 'startTime' | 'durationMs'>;

/** Memory that a waiting call takes, approximately. */
function bytesOf({ path, headers, body, callbackUrl = '' }: AsyncCall): number {
  return headers.reduce((sum, text) => sum + text.length, body.length + path.length + callbackUrl.length);
}

/** Makes one call and hands its answer on to the callbacks. Never throws, since it has no caller that could catch. */
async function runCall(
  served: ServedFunction,
  call: AsyncCall,
  { callbacks, log, force }: AsyncQueueOptions,
): Promise<void> {
  const fields = { call_id: call.id };
  try {
    const answer = await answerOf(served, call, force);
    if (answer.status >= 500) log.warn('asynchronous call failed', { ...fields, status: answer.status });
    else log.debug('asynchronous call answered', { ...fields, status: answer.status });
    if (call.callbackUrl !== undefined) {
      callbacks.add({ url: call.callbackUrl, callId: call.id, functionName: served.definition.name, answer });
    }
  } catch (error) {
    log.error('asynchronous call given up', { ...fields, error: toImageBuilderError(error).message });
  }
}

async function answerOf(served: ServedFunction, call: AsyncCall, force: AbortSignal): Promise<Answer> {
  const release = await served.slots.take(force);
  try {
    for (let refusals = 0; ; ) {
      await served.process.whenReady(force);
      const startTime = startTimeNow();
      const startedAt = performance.now();
      const answer = await callOnce(served, call, force).catch((error: unknown) => {
        force.throwIfAborted();
        // The function was not running when the call arrived: try again once it is.
        if (error instanceof ImageBuilderError && error.code === 'function.unavailable') return undefined;
        return problemAnswer(error);
      });
      if (answer === undefined) continue;
      // 429: the function still works on a call that was given up here when its time was over.
      if (answer.status !== 429 || refusals === maximumRefusals) {
        return { ...answer, startTime, durationMs: performance.now() - startedAt };
      }
      refusals += 1;
      await sleep(retryDelayMs, force);
    }
  } finally {
    release();
  }
}

async function callOnce(served: ServedFunction, call: AsyncCall, force: AbortSignal): Promise<AnswerOfCall> {
  const own = answerAsWatchdog(served, call.method, call.path);
  if (own !== undefined) return { status: own.status, headers: [], body: Buffer.from(own.body) };
  using limit = startTimeLimit(served.definition, call.headers);
  served.calls += 1;
  const signal = AbortSignal.any([limit.signal, force]);
  const answer = await callFunction(served.process, call, signal);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size <= maximumAnswerBytes) chunks.push(chunk);
      else chunks.length = 0;
    }
  } catch (error) {
    signal.throwIfAborted();
    served.process.doubt();
    throw new ImageBuilderError('function.failed', `the function ${served.definition.name} ended within its answer`, {
      cause: error,
    });
  }
  if (size > maximumAnswerBytes && call.callbackUrl !== undefined) {
    throw new ImageBuilderError(
      'function.failed',
      `the answer is larger than ${maximumAnswerBytes} bytes, the most that is sent to a callback URL`,
    );
  }
  return { status: answer.statusCode ?? 502, headers: answer.rawHeaders, body: Buffer.concat(chunks) };
}

function problemAnswer(thrown: unknown): AnswerOfCall {
  const error = toImageBuilderError(thrown);
  const body = Buffer.from(JSON.stringify(toProblem(error)));
  return { status: error.status, headers: ['Content-Type', 'application/problem+json'], body };
}
