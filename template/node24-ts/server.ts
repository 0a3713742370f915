import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Server as NetServer } from 'node:net';
import { sendAnswer, sendProblem, sendProblemAndDiscard } from './answer.ts';
import { bodyProblem } from './body.ts';
import { createContext, createEvent } from './call.ts';
import { boundConnections, checkIntervalMs, headersTimeoutMs } from './connections.ts';
import { isEventStream } from './event-stream.ts';
import type { Handler } from './function.ts';
import { log } from './log.ts';
import { ProblemError } from './problem.ts';
import { type BodyLimits, isTooLarge, readBody } from './read-body.ts';
import { collectedBytes, type Watchdog } from './watchdog.ts';

/** The HTTP server around a handler, and its shutdown. */

export interface ServerOptions {
  /** Bodies beyond these limits are refused with 413 or 408. */
  readonly body: BodyLimits;
  /** Calls at a time beyond which more are refused with 429; 0 means any number. */
  readonly maximumInFlight: number;
  /** The watchdog whose calls these are; undefined where callers connect to this process. */
  readonly watchdog: Watchdog | undefined;
}

export interface FunctionServer {
  readonly http: Server;
  /** Aborts `context.stopping` of every call. */
  announceStop(): void;
  /** Takes no more connections, and waits until every call has ended and its answer is sent. */
  drain(): Promise<void>;
}

const retryAfterBusySeconds = '5';
/** Limit of connections at a time. Behind the watchdog, each of its callers has one. */
const maximumConnections = 1_000;
/** Memory for the bodies of all calls together; at least for two of the largest. */
const bodyMemoryBytes = 32 * 1024 * 1024;

/** Makes a server that is not listening yet. */
export function createFunctionServer(handler: Handler, options: ServerOptions): FunctionServer {
  const { body: limits, maximumInFlight, watchdog } = options;
  const stop = new AbortController();
  const exchanges = new Set<Promise<void>>();
  let calls = 0;
  let draining = false;

  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const sent = new Promise<void>((resolve) => response.once('close', resolve));
    if (draining) response.setHeader('connection', 'close');
    const exchange = Promise.all([sent, answerOrRefuse(request, response)]).then(() => {
      exchanges.delete(exchange);
    });
    exchanges.add(exchange);
  };

  const answerOrRefuse = async (request: IncomingMessage, response: ServerResponse) => {
    try {
      const incoming = connections.begin(request, response);
      const body = await readBody(request, limits, incoming.hold);
      if (typeof body === 'string') throw bodyProblem(body, limits);
      incoming.whole();
      // A call counts from the moment when it is whole, so that a caller who never finishes one holds up no other. It
      // counts until its end, even after its caller has hung up. The watchdog counts differently: by callers, from
      // their first byte.
      // Monitoring asks a function also while it is busy.
      const counts = !isScrape(request);
      if (counts && maximumInFlight > 0 && calls >= maximumInFlight) {
        const detail = `${maximumInFlight} calls are running, as many as this function takes at a time`;
        throw new ProblemError('worker.busy', detail);
      }
      let counted = counts;
      if (counted) calls += 1;
      const uncount = () => {
        if (counted) calls -= 1;
        counted = false;
      };
      try {
        await answer(request, response, body, uncount);
      } finally {
        uncount();
      }
    } catch (error) {
      await answerError(request, response, error);
    }
  };

  const answer = async (request: IncomingMessage, response: ServerResponse, body: Buffer, uncount: () => void) => {
    const disconnect = new AbortController();
    response.once('close', () => {
      if (!response.writableFinished) disconnect.abort();
    });
    const event = createEvent(request, body);
    const send = (value: unknown) => {
      // Nobody waits for the end of a stream of events, and it may be open for hours: it holds no place of a call.
      if (isEventStream(head().headers.get('content-type'))) uncount();
      const collectBytes = watchdog === undefined ? 0 : collectedBytes(event.headers);
      return sendAnswer(response, head(), value, { collectBytes, stopping: stop.signal });
    };
    let early: Promise<void> | undefined;
    const { context, head } = createContext(stop.signal, disconnect.signal, (value) => {
      early ??= send(value);
      return early;
    });
    const value = await handler(event, context);
    await (early ?? send(value));
  };

  // joinDuplicateHeaders: Node drops the second of most headers otherwise, and with it the one added by a proxy in
  // between.
  const http = createServer(
    {
      joinDuplicateHeaders: true,
      headersTimeout: headersTimeoutMs,
      // For bodies that a refusal leaves unread; readBody is quicker.
      requestTimeout: headersTimeoutMs + limits.totalMs,
      connectionsCheckingInterval: checkIntervalMs,
    },
    serve,
  );
  const connections = boundConnections(http, {
    maximumConnections,
    maximumBodyBytes: Math.max(bodyMemoryBytes, 2 * limits.maximumBytes),
  });
  // A connection that the watchdog keeps for later must not be closed under the call that it sends next.
  http.keepAliveTimeout = 0;
  http.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (!isTooLarge(request, limits.maximumBytes)) response.writeContinue();
    serve(request, response);
  });

  return {
    http,
    announceStop: () => stop.abort(),
    drain: async () => {
      draining = true;
      // Not http.close(): it also destroys connections whose answer has been written but is still on its way.
      NetServer.prototype.close.call(http);
      while (exchanges.size > 0) await Promise.all(exchanges);
      http.closeAllConnections();
    },
  };
}

async function answerError(request: IncomingMessage, response: ServerResponse, error: unknown): Promise<void> {
  if (request.errored !== null) return; // The caller went away before its request was whole: no answer can reach it.
  if (error instanceof ProblemError) {
    const retryAfter = error.code === 'worker.busy' ? { 'retry-after': retryAfterBusySeconds } : {};
    if (!request.complete) return sendProblemAndDiscard(response, error.code, error.message, retryAfter);
    return sendProblem(response, error.code, error.message, retryAfter);
  }
  log('error', 'the handler failed', {
    method: request.method,
    path: request.url?.split('?', 1)[0],
    call_id: request.headers['x-call-id'],
    error: error instanceof Error ? error : String(error),
  });
  if (response.writableEnded) return; // The answer is whole, and went out before the error.
  if (response.headersSent || response.closed) {
    response.destroy(); // An answer cut short must not look like a whole one.
    return;
  }
  for (const name of response.getHeaderNames()) if (name !== 'connection') response.removeHeader(name);
  await sendProblem(response, 'internal', 'the function failed; its log says why');
}

/** True for a call that reads the function's metrics. */
function isScrape({ method, url }: IncomingMessage): boolean {
  return method === 'GET' && url === '/metrics';
}
