import { type IncomingMessage, request } from 'node:http';
import { ImageBuilderError, isNodeError } from '../errors.ts';
import type { FunctionProcess } from './function-process.ts';
import { pairs, type RawHeaders } from './headers.ts';

/** What is passed to a function. */
export interface Call {
  readonly method: string;
  /** Path and query below the function's URL, beginning with `/`, as the caller wrote them. */
  readonly path: string;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/**
 * Calls a function once and resolves with its answer, whose body is still to be read. A connection of its own per
 * call: over a Unix socket that costs next to nothing, and a kept one may be closed by the function just as it is used
 * again. Aborting the signal closes the connection, also while the answer is read. Throws `function.unavailable` when
 * the function does not listen, `function.failed` when it dies, and the signal's reason when that aborts.
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
  // HTTP/1.1 asks for one; what the gateway calls by itself, and HTTP/1.0, have none.
  if (!outgoing.hasHeader('host')) outgoing.setHeader('Host', process.name);
  return await new Promise<IncomingMessage>((resolve, reject) => {
    let answered = false;
    outgoing.once('response', (answer) => {
      answered = true;
      resolve(answer);
    });
    outgoing.on('error', (error) => {
      // Whoever reads the answer learns of what happens from here on.
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
