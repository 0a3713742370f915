import { type IncomingMessage, request } from 'node:http';
import { ImageBuilderError, isNodeError } from '../errors.ts';
import type { FunctionProcess } from './function-process.ts';
import { pairs, type RawHeaders } from './headers.ts';

/** A call as the function receives it. */
export interface Call {
  readonly method: string;
  /** Path and query below the function's URL, beginning with `/`. */
  readonly path: string;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/**
 * Calls a function once and resolves with its answer, whose body is still to be read. A connection of its own per call:
 * over a Unix socket that costs almost nothing, and the function may close a kept connection just as it is used again.
 * Aborting the signal closes the connection, also while the answer is read. Throws `function.unavailable` when the
 * function does not listen, `function.failed` when it dies, and the signal's reason when that aborts.
 */
export async function callFunction(
  process: FunctionProcess,
  call: Call,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  signal.throwIfAborted();
  const outgoing = request({
    socketPath: process.socketPath,
    method: call.method,
    path: call.path,
    agent: false,
    signal,
    setHost: false,
  });
  for (const [name, value] of pairs(call.headers)) outgoing.appendHeader(name, value);
  // HTTP/1.1 demands a Host header; the gateway's own calls, and HTTP/1.0, have none.
  if (!outgoing.hasHeader('host')) outgoing.setHeader('Host', process.name);
  return await new Promise<IncomingMessage>((resolve, reject) => {
    let answered = false;
    outgoing.once('response', (answer) => {
      answered = true;
      resolve(answer);
    });
    outgoing.on('error', (error) => {
      // From here on the reader of the answer sees its errors.
      if (answered) return;
      if (signal.aborted) return reject(signal.reason);
      process.doubt();
      reject(explain(process.name, error));
    });
    outgoing.end(call.body);
  });
}

function explain(name: string, error: Error): ImageBuilderError {
  if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')) {
    return new ImageBuilderError('function.unavailable', `the function ${name} is being started; try again`, {
      cause: error,
      retryAfterSeconds: 1,
    });
  }
  return new ImageBuilderError('function.failed', `the function ${name} ended before it had answered`, {
    cause: error,
  });
}
