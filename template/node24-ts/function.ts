/**
 * The contract between this template and a handler, OpenFaaS's own `(event, context)` with types. Handlers import it
 * with `import type`, which leaves no trace at run time, so it need not exist where they run.
 */

export interface FunctionEvent {
  readonly method: string;
  /** Path below the function's URL, beginning with `/`, as it was sent: neither decoded nor normalised. */
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
  /** Sets the status of the answer, 200 to 599; default 200, or 204 where the handler returns undefined. */
  status(code: number): FunctionContext;
  /** Sets headers of the answer, whatever the case of their names. Throws where a name or value cannot be a header. */
  headers(values: Readonly<Record<string, string>>): FunctionContext;
  /** Aborted when the function is told to stop (SIGTERM): finish or hand back, soon. */
  readonly stopping: AbortSignal;
  /** Aborted when the caller has gone away before the answer, or a time limit before us has cut the call. */
  readonly disconnected: AbortSignal;
}

/**
 * What a handler may return: a string goes out as text/plain, a Buffer or Uint8Array as application/octet-stream, a
 * Readable or async iterable of such is streamed, anything else as JSON; undefined is an empty answer. A content-type
 * set by `context.headers` wins. Headers go out with the first chunk of a stream; one that fails later cuts the
 * connection, so that nobody takes a part for the whole. What is thrown becomes a 500 problem that tells nothing of it.
 */
export type Handler = (event: FunctionEvent, context: FunctionContext) => unknown;

/** What a handler module exports. */
export interface HandlerModule {
  readonly default: Handler;
  /** Called once when the last call in flight has ended after SIGTERM: close connections here. */
  readonly close?: () => Promise<void>;
}
