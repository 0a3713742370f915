import type { Caller, Callers } from '../callers.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Problem, toProblem } from './problem.ts';

/** The part of a function's context that an answer needs. */
export interface Answer {
  status(code: number): unknown;
  headers(values: Readonly<Record<string, string>>): unknown;
}

/** Does the work of a call; an error of it becomes an RFC 9457 problem with the right status. Never throws. */
export async function respond(answer: Answer, log: Log, work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work();
  } catch (thrown) {
    return refuse(answer, log, toImageBuilderError(thrown));
  }
}

/** Answers a call with an error, and logs it. */
export function refuse(answer: Answer, log: Log, error: ImageBuilderError): Problem {
  if (error.fault === 'request' || error.code === 'worker.stopping')
    log.info('a call was refused', { code: error.code, reason: error.message });
  else log.error('a call failed', { code: error.code, error });
  answer.status(error.status);
  answer.headers({
    'content-type': 'application/problem+json',
    ...(error.retryAfterSeconds === undefined ? {} : { 'retry-after': String(error.retryAfterSeconds) }),
    ...(error.code === 'request.unauthorized' ? { 'www-authenticate': 'Bearer realm="imagebuilder"' } : {}),
  });
  // An unforeseen error may quote anything: it goes to the log, not to strangers.
  if (error.code === 'internal') {
    return toProblem(new ImageBuilderError('internal', 'an unexpected error; the log of the function says more'));
  }
  return toProblem(error);
}

/** The caller whose token the Authorization header carries. Throws `request.unauthorized` where there is none. */
export function requireCaller(callers: Callers, authorization: string | undefined): Caller {
  const caller = callers.identify(authorization);
  if (caller !== null) return caller;
  const needed = 'the header "Authorization: Bearer TOKEN"';
  throw new ImageBuilderError(
    'request.unauthorized',
    authorization === undefined ? `the call needs ${needed}` : `${needed} must carry a token that the service knows`,
  );
}

/** Throws `request.method`, and names the methods that are allowed. */
export function refuseMethod(answer: Answer, method: string, allowed: readonly string[]): never {
  answer.headers({ allow: allowed.join(', ') });
  throw new ImageBuilderError('request.method', `${method} is not allowed here; allowed: ${allowed.join(', ')}`);
}
