import { type IncomingMessage, validateHeaderName, validateHeaderValue } from 'node:http';
import type { AnswerHead } from './answer.ts';
import { parseBody } from './body.ts';
import type { FunctionContext, FunctionEvent } from './function.ts';

/** The arguments of a handler for one call: its event and its context. */

/** Headers of the connection, not of the answer (RFC 9110, 7.6.1): the server sets them. */
const connectionHeaders = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** The body is parsed when the handler first looks at it, which throws `request.malformed` for JSON that is none. */
export function createEvent(request: IncomingMessage, rawBody: Buffer): FunctionEvent {
  const { path, query } = splitTarget(request.url ?? '/');
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = typeof value === 'string' ? value : value.join(', ');
  }
  let body: { readonly value: unknown } | undefined;
  return {
    method: request.method ?? 'GET',
    path,
    query,
    headers,
    rawBody,
    get body() {
      body ??= { value: parseBody(rawBody, headers['content-type']) };
      return body.value;
    },
  };
}

/** A context, and the head of the answer that the handler makes through it. */
export function createContext(
  stopping: AbortSignal,
  disconnected: AbortSignal,
  answerNow: FunctionContext['answerNow'],
): { readonly context: FunctionContext; readonly head: () => AnswerHead } {
  let status: number | undefined;
  const headers = new Map<string, string>();
  const context: FunctionContext = {
    stopping,
    disconnected,
    answerNow,
    status(code) {
      if (!Number.isInteger(code) || code < 200 || code > 599) {
        throw new RangeError(`${code} is not the status of an answer: it must be a whole number from 200 to 599`);
      }
      status = code;
      return context;
    },
    headers(values) {
      for (const [name, value] of Object.entries(values)) {
        validateHeaderName(name);
        validateHeaderValue(name, value);
        if (!connectionHeaders.has(name.toLowerCase())) headers.set(name.toLowerCase(), value);
      }
      return context;
    },
  };
  return { context, head: () => ({ status, headers }) };
}

/**
 * Path and query of a request target in any of its forms (RFC 9112, 3.2). The path is kept as it was sent, neither
 * decoded nor normalised: `//x` stays a path and is never taken for a host.
 */
function splitTarget(target: string): { readonly path: string; readonly query: Record<string, string> } {
  const relative = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '');
  const mark = relative.indexOf('?');
  const path = mark === -1 ? relative : relative.slice(0, mark);
  const query = mark === -1 ? {} : Object.fromEntries(new URLSearchParams(relative.slice(mark + 1)));
  return { path: path.startsWith('/') ? path : '/', query };
}
