import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import {
  boundConnections,
  checkIntervalMs,
  type Exchange,
  headersTimeoutMs,
} from '../../template/node24-ts/connections.ts';
import { anonymous } from '../callers.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { textFormat } from '../metrics/merge.ts';
import { sendJson, sendProblem, sendText } from './answer.ts';
import type { AsyncQueue } from './async-queue.ts';
import { startTimeNow } from './headers.ts';
import { forwardedHeaders, takeBody } from './incoming.ts';
import { collectMetrics } from './metrics.ts';
import { findRoute, isOpen, type Route } from './routes.ts';
import type { ServedFunction } from './served-function.ts';
import { serveSyncCall } from './sync-call.ts';
import { emptyCall } from './wakes.ts';
import { answerAsWatchdog } from './watchdog.ts';

/** The HTTP server of the gateway: OpenFaaS's URLs, and those of Image Builder's API. */

/** Most bytes of the body of an asynchronous call, as in OpenFaaS CE. */
const maximumAsyncBodyBytes = 256_000;
const maximumConnections = 1_000;
/** The methods that OpenFaaS passes on to functions. */
const methodsOfFunctions = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
/** Memory for the bodies of all calls together; at least for two of the largest. */
const bodyMemoryBytes = 32 * 1024 * 1024;

export interface GatewayOptions {
  /** By name. Filled before the first request comes. */
  readonly functions: ReadonlyMap<string, ServedFunction>;
  readonly queues: ReadonlyMap<string, AsyncQueue>;
  /** Throws `request.host` or `request.origin` for calls that pages of other sites make. */
  readonly checkHost: (request: IncomingMessage) => void;
  /** Throws `request.unauthorized` unless a caller with this Authorization header may call functions. */
  readonly authorize: (authorization: string | undefined) => void;
  readonly log: Log;
  /** Once aborted, calls are refused with 503. */
  readonly stopping: AbortSignal;
  /** The reason why the functions cannot do their work although they run, which a health check shows; null: none. */
  readonly hindrance: () => string | null;
  /** Limits of the function that takes the largest bodies, and of the one that takes the longest for them. */
  readonly largestBody: { readonly bytes: number; readonly ms: number };
}

/** Makes the server; it does not listen yet. */
export function createGateway(options: GatewayOptions): Server {
  const { log, stopping, largestBody } = options;
  const settings = {
    headersTimeout: headersTimeoutMs,
    // For bodies that no handler reads; takeBody is quicker.
    requestTimeout: headersTimeoutMs + largestBody.ms,
    connectionsCheckingInterval: checkIntervalMs,
  };
  const server = createServer(settings, (request, response) => {
    const startedAt = performance.now();
    response.once('close', () => {
      const ms = Math.round(performance.now() - startedAt);
      log.debug('request', { method: request.method, path: pathOf(request), status: response.statusCode, ms });
    });
    if (stopping.aborted) response.setHeader('connection', 'close');
    handle(options, request, connections.begin(request, response), response).catch((error: unknown) => {
      const { code, status, cause } = toImageBuilderError(error);
      if (status >= 500) log.warn('request failed', { method: request.method, path: pathOf(request), code, cause });
      sendProblem(response, error);
    });
  });
  const connections = boundConnections(server, {
    maximumConnections,
    maximumBodyBytes: Math.max(bodyMemoryBytes, 2 * largestBody.bytes),
  });
  stopping.addEventListener('abort', () => connections.cutWaiting(), { once: true });
  return server;
}

async function handle(
  options: GatewayOptions,
  request: IncomingMessage,
  exchange: Exchange,
  response: ServerResponse,
): Promise<void> {
  const { functions, checkHost, stopping } = options;
  const route = findRoute(request.url ?? '/');
  // Health checks may use any host name, and their answer reveals nothing.
  if (route.kind !== 'health') checkHost(request);
  switch (route.kind) {
    case 'function': {
      refuseWhenStopping(stopping);
      admit(options, request, route);
      allow(request, response, ...methodsOfFunctions);
      const served = lookUp(functions, route.name);
      const identity = identify(request, response);
      const own = answerAsWatchdog(served, request.method ?? 'GET', route.path);
      if (own !== undefined) return sendText(response, own.status, own.body);
      const body = await takeBody(request, exchange, served.definition.body, route.name);
      const headers = [...forwardedHeaders(request, body), ...identity.headers];
      return await serveSyncCall(
        served,
        { method: request.method ?? 'GET', path: route.path, headers, body },
        response,
      );
    }
    case 'async-function': {
      refuseWhenStopping(stopping);
      admit(options, request, route);
      return await acceptAsyncCall(options, route, request, exchange, response);
    }
    case 'functions':
      admit(options, request, route);
      allow(request, response, 'GET');
      return sendJson(response, 200, [...functions.values()].map(describe));
    case 'metrics':
      refuseWhenStopping(stopping);
      admit(options, request, route);
      allow(request, response, 'GET', 'HEAD');
      return await showMetrics(options, request, response);
    case 'health': {
      allow(request, response, 'GET', 'HEAD');
      const reason = reasonToWait(options);
      return sendJson(
        response,
        reason === null ? 200 : 503,
        reason === null ? { ready: true } : { ready: false, reason },
      );
    }
    case 'moved':
      response.setHeader('location', route.location);
      return sendText(response, 301, '');
    case 'malformed':
      throw new ImageBuilderError(
        'request.invalid',
        `a "%" in the path ${JSON.stringify(pathOf(request).slice(0, 100))} is not followed by two hexadecimal digits`,
      );
    case 'none':
      throw new ImageBuilderError(
        'request.not_found',
        `there is nothing at ${pathOf(request)}; there are /api/v1/imagebuilder/, /api/v1/imagebuilder/status, /api/v1/build_image/, ` +
          `/api/v1/openapi.json, /api/v1/asyncapi.json, /healthz, /metrics, /system/functions, and, under /function/ and /async-function/, ${[...functions.keys()].join(', ')}`,
      );
  }
}

async function showMetrics(
  { functions }: GatewayOptions,
  { headers }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  sendText(response, 200, await collectMetrics([...functions.values()], headers.authorization), textFormat);
}

function reasonToWait({ functions, stopping, hindrance }: GatewayOptions): string | null {
  if (stopping.aborted) return 'the gateway is stopping';
  if (![...functions.values()].every((served) => served.process.ready)) return 'a function does not run';
  return hindrance();
}

/**
 * Throws `request.unauthorized` where the call needs a token and has none. The function never gets such a call, so its
 * audit line is written here.
 */
function admit({ authorize, functions, log }: GatewayOptions, request: IncomingMessage, route: Route): void {
  if (isOpen(route, request.method ?? 'GET')) return;
  try {
    authorize(request.headers.authorization);
  } catch (error) {
    const { code, status } = toImageBuilderError(error);
    const called = 'name' in route && functions.has(route.name) ? `/${route.kind}/${route.name}` : 'other';
    const own = { functions: '/system/functions', metrics: '/metrics' } as const;
    const path = route.kind === 'functions' || route.kind === 'metrics' ? own[route.kind] : called;
    log.audit('call answered', { caller: anonymous.name, method: request.method, path, status, code });
    throw error;
  }
}

async function acceptAsyncCall(
  { functions, queues }: GatewayOptions,
  route: { readonly name: string; readonly path: string },
  request: IncomingMessage,
  exchange: Exchange,
  response: ServerResponse,
): Promise<void> {
  allow(request, response, 'POST');
  const { definition } = lookUp(functions, route.name);
  const callbackUrl = callbackUrlOf(request);
  const onlyWoken = definition.body.maximumBytes === 0;
  if (onlyWoken && callbackUrl !== undefined) {
    throw new ImageBuilderError(
      'request.invalid',
      `a call of ${route.name} only wakes it, and has no answer that an X-Callback-Url could get`,
    );
  }
  const maximumBytes = Math.min(maximumAsyncBodyBytes, definition.body.maximumBytes);
  const body = await takeBody(request, exchange, { ...definition.body, maximumBytes }, route.name);
  const { id, headers } = identify(request, response);
  queues.get(route.name)?.add(
    onlyWoken
      ? emptyCall(id, headers)
      : {
          id,
          method: 'POST',
          path: route.path,
          headers: [...forwardedHeaders(request, body), ...headers],
          body,
          callbackUrl,
        },
  );
  response.statusCode = 202;
  response.setHeader('content-length', 0);
  response.end();
}

/** Names the call: by the caller's X-Call-Id or a new one, and the time in nanoseconds, in the answer as well. */
function identify(request: IncomingMessage, response: ServerResponse): { id: string; headers: string[] } {
  const given = request.headers['x-call-id'];
  const id = typeof given === 'string' && given !== '' ? given : randomUUID();
  const startTime = startTimeNow();
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

/** The shape of OpenFaaS's own list, as far as its fields have a meaning on one machine. */
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
