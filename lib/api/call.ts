import { anonymous, type Caller, type Callers } from '../callers.ts';
import { toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { parseTraceContext, traceFields } from '../trace-context.ts';
import { type Answer, refuse, requireCaller } from './respond.ts';

/** A call of the API by a caller that is known. */
export interface Call extends Answer {
  readonly caller: Caller;
  /** Puts something about the call into its audit line. */
  note(about: About): void;
}

/** Fields of an audit line beside the path of the call, as far as they are known. */
export interface About {
  readonly build_id?: string | undefined;
  readonly ticket_id?: string | number | undefined;
  readonly retry_of?: string | undefined;
  readonly trace_id?: string | undefined;
  readonly span_id?: string | undefined;
}

export interface CallOptions {
  readonly callers: Callers;
  readonly log: Log;
  readonly event: { readonly method: string; readonly headers: Readonly<Record<string, string>> };
  readonly context: Answer;
  /** Path below the function, with `{build_id}` for a build's; `other` for a path that the function does not have. */
  readonly path: string;
  readonly about?: About;
}

/**
 * Does the work of a call for the caller whose token it carries, as `respond` does, and writes one audit line when it
 * is answered, with caller, purpose, answer and the caller's place in a trace; never with a token or a query. Never
 * throws.
 */
export async function answerCall(
  { callers, ...options }: CallOptions,
  work: (call: Call) => Promise<unknown>,
): Promise<unknown> {
  return await audited(options, async (answer, note) => {
    const caller = requireCaller(callers, options.event.headers.authorization);
    note({ caller: caller.name });
    return await work({ ...answer, caller, note });
  });
}

/** Does the work of a call that needs no token, whatever token it carries; otherwise as `answerCall`. */
export async function answerOpenCall(
  options: Omit<CallOptions, 'callers'>,
  work: (answer: Answer) => Promise<unknown>,
): Promise<unknown> {
  return await audited(options, work);
}

type Noted = About & { readonly caller?: string };

async function audited(
  { event, context, path, about, ...options }: Omit<CallOptions, 'callers'>,
  work: (answer: Answer, note: (more: Noted) => void) => Promise<unknown>,
): Promise<unknown> {
  const log = options.log.with(traceFields(parseTraceContext(event.headers)));
  let noted: Noted = { caller: anonymous.name, ...about };
  let status = 200;
  let code: string | undefined;
  const answer: Answer = {
    status(value) {
      status = value;
      context.status(value);
    },
    headers: (values) => context.headers(values),
  };
  try {
    return await work(answer, (more) => {
      noted = { ...noted, ...more };
    });
  } catch (thrown) {
    const error = toImageBuilderError(thrown);
    code = error.code;
    return refuse(answer, log, error);
  } finally {
    const { caller, ...purpose } = noted;
    log.audit('call answered', { caller, method: event.method, path, ...purpose, status, code });
  }
}
