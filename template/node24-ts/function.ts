/**
 * The contract between this template and a handler, OpenFaaS's own `(event, context)` with types. Handlers import it
 * with `import type`, which disappears at run time, so this file need not exist where they run.
 */

export interface FunctionEvent {
  readonly method: string;
  /** Path below the function's URL, beginning with `/`, as it was sent: neither decoded nor normalised. */
  readonly path: string;
  /** Query parameters; of a repeated one the last. */
  readonly query: Readonly<Record<string, string>>;
  /** Header names in lower case; repeated headers joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /**
   * `application/json` and `…+json`: the parsed value. `text/*`: a string. No body: undefined. Anything else: a Buffer.
   * It is parsed when it is first looked at. Where a body declared as JSON is not JSON that throws; a handler that lets
   * the error through is answered for with 400.
   */
  readonly body: unknown;
  /** The body's bytes as they came, empty where there was no body. */
  readonly rawBody: Buffer;
}

export interface FunctionContext {
  /** Sets the status of the answer, 200 to 599; default 200, or 204 where the handler returns undefined. */
  status(code: number): FunctionContext;
  /**
   * Sets headers of the answer; the case of their names does not matter. Throws where a name or value cannot be a
   * header.
   */
  headers(values: Readonly<Record<string, string>>): FunctionContext;
  /**
   * Sends `value` as the answer at once, with the status and headers set so far, while the handler goes on. The call
   * counts for max_inflight until the handler ends, and the function waits for that before it stops. The watchdog knows
   * nothing of it: after SIGTERM such a handler has healthcheck_interval, and no longer. The value that it returns then
   * goes nowhere, an error of it into the log.
   */
  answerNow(value: unknown): Promise<void>;
  /** Aborted when the function has to stop (SIGTERM): finish or hand back, soon. */
  readonly stopping: AbortSignal;
  /** Aborted when the caller has gone away before the answer, or a time limit in front of us has cut the call. */
  readonly disconnected: AbortSignal;
}

/**
 * The function of a handler module. It may return any of these: a string goes out as text/plain, a Buffer or Uint8Array
 * as application/octet-stream, a Readable or async iterable of such is streamed, anything else as JSON; undefined is an
 * empty answer. A content-type set by `context.headers` wins. An error becomes a 500 problem that reveals nothing of it.
 *
 * A stream that fails after its first chunk cuts the connection. Behind the watchdog, a failure within the first MiB is
 * a 500 problem, and the answer has a content-length where the stream ends within it. Of a longer stream the watchdog
 * passes on what has come, and the caller sees that something is missing only if the handler has set a content-length:
 * set it wherever the length is known.
 *
 * A stream whose handler has set the content type `text/event-stream` is one of server-sent events: its head goes out at
 * once, each chunk as it comes, and nothing is collected. It counts for no `max_inflight`, and ends when the function has
 * to stop. The handler bounds how many there are at a time, and sends comments where nothing else comes; a source that
 * waits must end when `disconnected` aborts. Behind the watchdog that holds for calls that accept `text/event-stream`,
 * and a stream lasts for write_timeout at most.
 */
export type Handler = (event: FunctionEvent, context: FunctionContext) => unknown;

/** The exports of a handler module. */
export interface HandlerModule {
  readonly default: Handler;
  /** Called once before the first call. Where it throws, the function ends with exit code 2 and the error's message. */
  readonly start?: () => Promise<void>;
  /** Called once when the last call in flight has ended after SIGTERM: close connections here. */
  readonly close?: () => Promise<void>;
}
