import { once } from 'node:events';
import http from 'node:http';
import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type SecureContext, connect as tlsConnect } from 'node:tls';
import type { HttpProxy } from '../proxies.ts';
import { describeFailure, firstLine, isTransientStatus } from './failure.ts';
import { UpstreamError } from './upstream-error.ts';

/** Connections to a proxy of the operator's network, and through it (CONNECT: RFC 9110, 9.3.6). */

export interface ProxyConnectionOptions {
  readonly proxy: HttpProxy;
  readonly connectTimeoutMs: number;
  /** For TLS to the proxy itself. */
  readonly context: SecureContext | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Connects to the proxy. Throws UpstreamError, which names the proxy, or the signal's reason. */
export async function connectToProxy(options: ProxyConnectionOptions): Promise<Socket> {
  const { proxy, connectTimeoutMs, context, signal } = options;
  const { host, port } = proxy;
  const tls = { host, port, ...(isIP(host) === 0 && { servername: host }), ...(context && { secureContext: context }) };
  const socket = proxy.isSecure ? tlsConnect(tls) : tcpConnect({ host, port });
  const fail = (what: string, transient: boolean) => proxyError(proxy, `cannot be used: ${what}`, { transient });
  await withinLimit(socket, proxy.isSecure ? 'secureConnect' : 'connect', {
    limitMs: connectTimeoutMs * (proxy.isSecure ? 2 : 1),
    late: () => fail('no connection in time', true),
    failed: (error) => {
      const { what, transient } = describeFailure(error) ?? { what: firstLine(error), transient: true };
      return fail(/CERT|UNABLE_TO_/.test(what) ? `${what}; name its CA with IMAGEBUILDER_CA_FILE` : what, transient);
    },
    signal,
  });
  return socket;
}

/**
 * Opens a tunnel to `host:port`; the proxy resolves the name. Throws UpstreamError, which names the proxy, or the
 * signal's reason.
 */
export async function openProxyTunnel(authority: string, options: ProxyConnectionOptions): Promise<Socket> {
  const { proxy, connectTimeoutMs, signal } = options;
  const socket = await connectToProxy(options);
  const request = http.request({
    method: 'CONNECT',
    path: authority,
    setHost: false,
    headers: { host: authority, ...(proxy.authorization !== null && { 'proxy-authorization': proxy.authorization }) },
    createConnection: () => socket,
  });
  request.end();
  const answer = withinLimit<[http.IncomingMessage, Socket, Buffer]>(request, 'connect', {
    // DNS and TCP of the proxy take their time each.
    limitMs: connectTimeoutMs * 2,
    late: () => proxyError(proxy, `opened no connection to ${authority} in time`, { transient: true }),
    failed: (error) => proxyError(proxy, `cannot be used: ${firstLine(error)}`, { transient: true }),
    signal,
  });
  const [response, tunnel, head] = await answer;
  const { statusCode = 0 } = response;
  if (statusCode < 200 || statusCode > 299) {
    tunnel.destroy();
    throw proxyRefusal(proxy, authority, statusCode, response.statusMessage);
  }
  if (head.length > 0) tunnel.unshift(head);
  return tunnel;
}

/** The error of a proxy that answers a request for a server with a status of its own. */
export function proxyRefusal(proxy: HttpProxy, target: string, status: number, reason = ''): UpstreamError {
  const answered = `answered ${status}${reason === '' ? '' : ` ${reason.slice(0, 100)}`} to the request for ${target}`;
  const advice =
    status !== 407
      ? ''
      : proxy.authorization === null
        ? '; give it user and password with the secret proxy-credentials'
        : '; it does not accept its user and password';
  const transient = isTransientStatus(status);
  return proxyError(proxy, `${answered}${advice}`, { transient, upstreamStatus: status });
}

function proxyError(proxy: HttpProxy, what: string, details: { transient: boolean; upstreamStatus?: number }) {
  return new UpstreamError(
    details.transient ? 'upstream.unreachable' : 'proxy.refused',
    `the proxy ${proxy.url} ${what}`,
    details,
  );
}

interface Limit {
  readonly limitMs: number;
  readonly late: () => Error;
  readonly failed: (error: unknown) => Error;
  readonly signal?: AbortSignal | undefined;
}

/** Waits for an event; destroys the emitter where it does not come. */
export async function withinLimit<Values extends unknown[]>(
  emitter: Socket | http.ClientRequest,
  event: string,
  { limitMs, late, failed, signal }: Limit,
): Promise<Values> {
  const done = new AbortController();
  try {
    return (await Promise.race([
      once(emitter, event, { signal: signal === undefined ? done.signal : AbortSignal.any([signal, done.signal]) }),
      sleep(limitMs, undefined, { signal: done.signal }).then(() => {
        throw late();
      }),
    ])) as Values;
  } catch (error) {
    // An error that comes later concerns nobody.
    emitter.on('error', () => {});
    emitter.destroy();
    signal?.throwIfAborted();
    throw error instanceof UpstreamError ? error : failed(error);
  } finally {
    done.abort();
  }
}
