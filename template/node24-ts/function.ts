/**
 * The contract between this template and a handler, OpenFaaS's own `(event, context)` with types. Handlers import it
 * with `import type`, which leaves no trace at run time, so it need not exist where they run.
 */

export interface FunctionEvent {
  readonly method: string;
  /** Path below the function's URL, beginning with `/`. */
  readonly path: string;
  /** Query parameters; of a repeated one the last. */
  readonly query: Readonly<Record<string, string>>;
  /** Header names in lower case; repeated headers joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** `application/json` and `…+json`: the parsed value. `text/*`: a string. No body: undefined. Anything else: a Buffer. */
  readonly body: unknown;
  /** The body's bytes as they came, empty where there was none. */
  readonly rawBody: Buffer;
}

export interface FunctionContext {
  /** Sets the status of the answer; default 200, or 204 where the handler returns undefined. */
  status(code: number): FunctionContext;
  /** Sets headers of the answer. */
  headers(values: Readonly<Record<string, string>>): FunctionContext;
  /** Aborted when the function is told to stop (SIGTERM): finish or hand back, soon. */
  readonly stopping: AbortSignal;
  /** Aborted when the caller has gone away before the answer. */
  readonly disconnected: AbortSignal;
}

/**
 * What a handler may return: an object or array goes out as JSON, a string as text/plain, a Buffer or Uint8Array as
 * application/octet-stream, a Readable or async iterable is streamed; undefined is an empty answer. A content-type set
 * by `context.headers` wins.
 */
export type Handler = (event: FunctionEvent, context: FunctionContext) => unknown;

/** What a handler module exports. */
export interface HandlerModule {
  readonly default: Handler;
  /** Called once when the last call in flight has ended after SIGTERM: close connections here. */
  readonly close?: () => Promise<void>;
}
