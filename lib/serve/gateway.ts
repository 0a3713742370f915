import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { sendJson, sendProblem } from './answer.ts';
import type { AsyncQueue } from './async-queue.ts';
import { findRoute } from './routes.ts';
import type { ServedFunction } from './served-function.ts';
import { forwardedHeaders, serveSyncCall } from './sync-call.ts';

/** The HTTP server of the gateway: OpenFaaS's URLs, and those of Image Builder's API. */

/** Most bytes of the body of an asynchronous call, as in OpenFaaS CE. */
const maximumAsyncBodyBytes = 256_000;

export interface GatewayOptions {
  /** By name. Filled before the first request comes. */
  readonly functions: ReadonlyMap<string, ServedFunction>;
  readonly queues: ReadonlyMap<string, AsyncQueue>;
  /** Throws `request.unauthorized` unless a caller with this Authorization header may call functions. */
  readonly authorize: (authorization: string | undefined) => void;
  readonly log: Log;
  /** Once aborted, calls are refused with 503. */
  readonly stopping: AbortSignal;
  /** Milliseconds in which a whole request must arrive, whichever function it is for. */
  readonly requestTimeoutMs: number;
}

/** Makes the server; it does not listen yet. */
export function createGateway(options: GatewayOptions): Server {
  const { log, stopping } = options;
  const server = createServer({ requestTimeout: options.requestTimeoutMs }, (request, response) => {
    const startedAt = performance.now();
    response.once('close', () => {
      const ms = Math.round(performance.now() - startedAt);
      log.debug('request', { method: request.method, path: pathOf(request), status: response.statusCode, ms });
    });
    if (stopping.aborted) response.setHeader('connection', 'close');
    handle(options, request, response).catch((error: unknown) => {
      const { code, status, cause } = toImageBuilderError(error);
      if (status >= 500) log.warn('request failed', { method: request.method, path: pathOf(request), code, cause });
      sendProblem(response, error);
    });
  });
  return server;
}

async function handle(options: GatewayOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { functions, authorize, stopping } = options;
  const route = findRoute(request.url ?? '/');
  switch (route.kind) {
    case 'function': {
      refuseWhenStopping(stopping);
      authorize(request.headers.authorization);
      const served = lookUp(functions, route.name);
      const identity = identify(request, response);
      return await serveSyncCall(served, route.path, identity.headers, request, response);
    }
    case 'async-function': {
      refuseWhenStopping(stopping);
      authorize(request.headers.authorization);
      return await acceptAsyncCall(options, route, request, response);
    }
    case 'functions':
      authorize(request.headers.authorization);
      allow(request, response, 'GET', 'HEAD');
      return sendJson(response, 200, [...functions.values()].map(describe));
    case 'health': {
      allow(request, response, 'GET', 'HEAD');
      const ready = !stopping.aborted && [...functions.values()].every((served) => served.process.ready);
      return sendJson(response, ready ? 200 : 503, { ready });
    }
    case 'none':
      throw new ImageBuilderError(
        'request.not_found',
        `there is nothing at ${pathOf(request)}; there are /api/v1/imagebuilder/status, /api/v1/build_image/, ` +
          `/openapi.json, /healthz, /system/functions, and, under /function/ and /async-function/, ${[...functions.keys()].join(', ')}`,
      );
  }
}

async function acceptAsyncCall(
  options: GatewayOptions,
  route: { readonly name: string; readonly path: string },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  allow(request, response, 'POST');
  lookUp(options.functions, route.name);
  const callbackUrl = callbackUrlOf(request);
  const body = await readBody(request, maximumAsyncBodyBytes);
  const identity = identify(request, response);
  options.queues.get(route.name)?.add({
    id: identity.id,
    method: 'POST',
    path: route.path,
    headers: [...framed(forwardedHeaders(request), body), ...identity.headers],
    body,
    callbackUrl,
  });
  response.statusCode = 202;
  response.setHeader('content-length', 0);
  response.end();
}

/** The body is sent on whole, however it came. */
function framed(headers: readonly string[], body: Buffer): string[] {
  const result: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const [name = '', value = ''] = headers.slice(index, index + 2);
    if (!/^(content-length|transfer-encoding)$/i.test(name)) result.push(name, value);
  }
  return [...result, 'Content-Length', String(body.length)];
}

/** Names the call: by the caller's X-Call-Id or a new one, and the time in nanoseconds, in the answer as well. */
function identify(request: IncomingMessage, response: ServerResponse): { id: string; headers: string[] } {
  const given = request.headers['x-call-id'];
  const id = typeof given === 'string' && given !== '' ? given : randomUUID();
  const startTime = String(BigInt(Date.now()) * 1_000_000n);
  response.setHeader('X-Call-Id', id);
  response.setHeader('X-Start-Time', startTime);
  return { id, headers: ['X-Call-Id', id, 'X-Start-Time', startTime] };
}

function callbackUrlOf(request: IncomingMessage): string | undefined {
  const url = request.headers['x-callback-url'];
  if (url === undefined || url === '') return undefined;
  if (typeof url === 'string' && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url;
  throw new ImageBuilderError('request.invalid', 'X-Callback-Url must be an absolute http or https URL');
}

/** Reads a body. Throws `request.too_large` only once all of it has come, so that the caller gets to read the answer. */
async function readBody(request: IncomingMessage, maximumBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= maximumBytes) chunks.push(chunk);
    else chunks.length = 0;
  }
  if (size > maximumBytes) {
    throw new ImageBuilderError(
      'request.too_large',
      `the body of an asynchronous call may have at most ${maximumBytes} bytes`,
    );
  }
  return Buffer.concat(chunks);
}

function lookUp(functions: ReadonlyMap<string, ServedFunction>, name: string): ServedFunction {
  const served = functions.get(name);
  if (served !== undefined) return served;
  throw new ImageBuilderError(
    'request.not_found',
    `there is no function ${name}; there are ${[...functions.keys()].join(', ')}`,
  );
}

function allow(request: IncomingMessage, response: ServerResponse, ...methods: string[]): void {
  if (methods.includes(request.method ?? '')) return;
  response.setHeader('allow', methods.join(', '));
  throw new ImageBuilderError('request.method', `${pathOf(request)} takes ${methods.join(' and ')} only`);
}

function refuseWhenStopping(stopping: AbortSignal): void {
  if (!stopping.aborted) return;
  throw new ImageBuilderError('worker.stopping', 'the gateway is stopping', { retryAfterSeconds: 5 });
}

/** The shape of OpenFaaS's own list, as far as it means anything on one machine. */
function describe({ definition, process, calls }: ServedFunction) {
  return {
    name: definition.name,
    replicas: 1,
    availableReplicas: process.ready ? 1 : 0,
    invocationCount: calls,
    labels: definition.labels,
    annotations: definition.annotations,
  };
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/';
}
