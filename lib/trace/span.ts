import type { TracingSettings } from '../config/tracing.ts';
import type { Log } from '../log.ts';
import type { TraceContext } from '../trace-context.ts';

/** Makes spans: records of operations, for a tracing system. Nothing here throws, and no build waits for it. */
export interface Tracer extends AsyncDisposable {
  /** Begins an operation, in the trace of `parent`; without one, in a new trace. */
  start(name: string, kind: SpanKind, parent: TraceContext | null, attributes: SpanAttributes): Span;
}

/** The part in a conversation: the answer to a call, or the work on a message; `internal` is none. */
export type SpanKind = 'server' | 'consumer' | 'internal';
export type SpanAttributes = Readonly<Record<string, string | number>>;

/** An operation that goes on. One that is not ended is not recorded. */
export interface Span {
  readonly context: TraceContext;
  /** Records a part of it that has ended. */
  part(name: string, startedAt: Date, endedAt: Date, error: SpanError | null): void;
  end(error: SpanError | null, attributes?: SpanAttributes): void;
}

export interface SpanError {
  readonly code: string;
  readonly message: string;
}

export interface TracerOptions extends TracingSettings {
  /** Name of the service, where the environment names none. */
  readonly service: string;
  /** Strings that must not leave this process; each is replaced by `[secret]`. */
  readonly secrets: readonly string[];
  /** Time for the last spans when it is disposed of. Default 3 seconds. */
  readonly flushMs?: number;
  readonly log: Log;
}
