/** Calls of the API, with the caller's token. */

/** @import { Problem } from '#lib/api/problem.ts' */

/** An answer of the API that is an error; `problem` is what it says. */
export class ApiError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

const answerWithinMs = 35_000;
const tokenKey = 'imagebuilder-token';

/** The token, kept as long as the tab is open, and only there. */
export const session = {
  get token() {
    return sessionStorage.getItem(tokenKey) ?? '';
  },
  /** @param {string} token Empty: forgets it. */
  set token(token) {
    if (token === '') sessionStorage.removeItem(tokenKey);
    else sessionStorage.setItem(tokenKey, token);
  },
};

/**
 * @typedef {object} SendOptions
 * @property {string} [method]
 * @property {unknown} [body]
 * @property {Readonly<Record<string, string>>} [headers]
 * @property {AbortSignal} [signal]
 * @property {'error' | 'manual'} [redirect] `manual`: a redirect is an answer without status and content.
 */

/**
 * The answer to a call. Throws an ApiError for an error of the API, and what fetch throws where there is no answer.
 *
 * @param {string} url
 * @param {SendOptions} [options]
 * @returns {Promise<Response>}
 */
export async function send(url, options = {}) {
  const { method = 'GET', body, headers = {}, signal, redirect = 'error' } = options;
  const { token } = session;
  const response = await fetch(url, {
    method,
    headers: {
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: signal ?? AbortSignal.timeout(answerWithinMs),
    cache: 'no-store',
    credentials: 'same-origin',
    redirect,
  });
  // Another token was given meanwhile.
  if (response.status === 401 && session.token !== token) return await send(url, options);
  if (!response.ok && response.type !== 'opaqueredirect') throw new ApiError(await readProblem(response));
  return response;
}

/**
 * As `send`, and reads the answer as JSON.
 *
 * @param {string} url
 * @param {{ method?: string, body?: unknown, signal?: AbortSignal }} [options]
 * @returns {Promise<any>}
 */
export async function call(url, options) {
  const response = await send(url, options);
  return await response.json();
}

/**
 * @param {Response} response
 * @returns {Promise<Problem>}
 */
async function readProblem(response) {
  const answer = await response.json().catch(() => null);
  if (typeof answer?.code === 'string' && typeof answer?.detail === 'string') return answer;
  const detail = `the server answered ${response.status} ${response.statusText}`.trim();
  return {
    ...{ type: 'about:blank', title: detail, detail, status: response.status },
    ...{
      code: response.status === 401 ? 'request.unauthorized' : 'upstream.status',
      fault: 'service',
      retryable: true,
    },
  };
}
