import got, { type Method, RequestError, type Response } from 'got';
import type { z } from 'zod';
import { Problem } from '../api/problem.ts';
import { Accepted, Status } from '../api/status.ts';
import { type ErrorCode, errorTable, ImageBuilderError, isNodeError, safeUrl } from '../errors.ts';
import { describeFailure } from '../http/failure.ts';
import { trimEndOf } from '../text.ts';

/** The API of Image Builder as a caller sees it. */
export interface Client {
  /** Submits a build. `created` is false where an unfinished build has the same request already. */
  submit(request: unknown): Promise<{ accepted: Accepted; created: boolean }>;
  status(filter?: StatusFilter): Promise<Status>;
  /** Asks for the build to be cancelled; it ends a little later. */
  cancel(buildId: string): Promise<void>;
}

export interface StatusFilter {
  readonly buildId?: string;
  readonly ticketId?: string;
}

export interface ClientOptions {
  /** Address of the gateway, such as `http://127.0.0.1:8000`. */
  readonly url: string;
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string;
  readonly signal?: AbortSignal;
}

const requestTimeoutMs = 30_000;

/**
 * Every method throws an ImageBuilderError: a problem that the API answers becomes the error that it was, with its
 * faults; `upstream.unreachable` when there is no answer; `upstream.status` when the answer is not Image Builder's.
 */
export function createClient(options: ClientOptions): Client {
  const { token, signal } = options;
  const base = trimEndOf(options.url, '/');

  async function call(method: Method, path: string, json?: unknown) {
    try {
      const response = await got(`${base}${path}`, {
        method,
        ...(json === undefined ? {} : { json }),
        ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
        throwHttpErrors: false,
        followRedirect: false,
        retry: { limit: 0 },
        timeout: { request: requestTimeoutMs },
        ...(signal === undefined ? {} : { signal }),
      });
      if (response.statusCode >= 300) throw refusal(base, response);
      return response;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof RequestError) throw unreachable(base, error);
      throw error;
    }
  }

  return {
    async submit(request) {
      const response = await call('POST', '/api/v1/build_image/', request);
      return { accepted: read(Accepted, base, response), created: response.statusCode === 202 };
    },
    async status({ buildId, ticketId } = {}) {
      const query = new URLSearchParams();
      if (buildId !== undefined) query.set('build_id', buildId);
      if (ticketId !== undefined) query.set('ticket_id', ticketId);
      const search = query.size === 0 ? '' : `?${query}`;
      return read(Status, base, await call('GET', `/api/v1/imagebuilder/status${search}`));
    },
    async cancel(buildId) {
      await call('DELETE', `/api/v1/build_image/${encodeURIComponent(buildId)}`);
    },
  };
}

function read<Schema extends z.ZodType>(schema: Schema, base: string, response: Response<string>): z.output<Schema> {
  const result = schema.safeParse(parseJson(response.body));
  if (result.success) return result.data;
  throw new ImageBuilderError(
    'upstream.status',
    `${safeUrl(base)} does not answer as Image Builder does: is the URL right?`,
    {
      cause: result.error,
    },
  );
}

function refusal(base: string, response: Response<string>): ImageBuilderError {
  const problem = Problem.safeParse(parseJson(response.body));
  if (!problem.success) {
    const status = `${response.statusCode} ${response.statusMessage ?? ''}`.trim();
    return new ImageBuilderError(
      'upstream.status',
      `${safeUrl(base)} answered ${status}: is it a gateway of Image Builder?`,
    );
  }
  const { code, detail, faults } = problem.data;
  return new ImageBuilderError(
    code in errorTable ? (code as ErrorCode) : 'upstream.status',
    detail,
    faults && { faults },
  );
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is `imagebuilder serve` running?',
  ERR_INVALID_URL: 'the URL is not valid',
};

function unreachable(base: string, error: RequestError): ImageBuilderError {
  const code = isNodeError(error) ? error.code : undefined;
  const reason = reasons[code ?? ''] ?? describeFailure(error)?.what ?? code ?? error.message;
  return new ImageBuilderError('upstream.unreachable', `cannot reach ${safeUrl(base)}: ${reason}`, { cause: error });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
