import http, { type AgentOptions, type ClientRequest, type RequestOptions } from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, type SecureContext, connect as tlsConnect } from 'node:tls';
import { sleep } from '../async.ts';
import { ImageBuilderError, safeUrl } from '../errors.ts';
import { type HttpProxy, type Proxies, portOf, proxyFor } from '../proxies.ts';
import { createTlsContexts, type TlsContext, type Trust } from '../trust.ts';
import { describeFailure, firstLine } from './failure.ts';
import { connectToProxy, openProxyTunnel, withinLimit } from './proxy-connection.ts';
import { UpstreamError } from './upstream-error.ts';

/**
 * The ways to servers: directly, or through a proxy of the operator's network. A proxy gets https as a tunnel and
 * http as a request with the whole URL.
 */
export interface Routes extends Disposable {
  /**
   * Chooses the way to a server. Where a proxy would resolve its name, `lookup` checks the name first. Throws what
   * `lookup` throws for a refused address, and UpstreamError where it cannot resolve.
   */
  to(url: URL): Promise<Route>;
}

export interface Route {
  readonly proxy: HttpProxy | null;
  readonly agent: { readonly http: http.Agent; readonly https: https.Agent };
  /** Sends in place of Node's `request`. */
  readonly request?: (url: URL, options: RequestOptions) => ClientRequest;
  /** Opens a tunnel to the server; missing where there is no proxy. */
  readonly tunnel?: (signal: AbortSignal) => Promise<Socket>;
}

export interface RoutesOptions {
  readonly proxies: Proxies;
  readonly trust: Trust;
  readonly connectTimeoutMs: number;
  readonly lookup: LookupFunction | undefined;
  readonly agentOptions: AgentOptions;
}

/** Opens no connection. */
export function createRoutes(options: RoutesOptions): Routes {
  const { proxies, connectTimeoutMs, lookup, agentOptions } = options;
  const contextFor = createTlsContexts(options.trust);
  const agents = new Map<string, http.Agent>();
  const toProxy = (proxy: HttpProxy) => {
    const { context } = contextFor(new URL(proxy.url));
    return { proxy, connectTimeoutMs, context };
  };

  /** The agent of this name: the connections of one name are interchangeable. */
  function agentOf<Agent extends http.Agent>(name: string, make: () => Agent): Agent {
    const agent = (agents.get(name) as Agent | undefined) ?? make();
    agents.set(name, agent);
    return agent;
  }

  function directAgent({ name, context }: TlsContext): Route['agent'] {
    const direct = { ...agentOptions, ...(lookup && { lookup }) };
    return {
      http: agentOf('http', () => new http.Agent(direct)),
      https: agentOf(`https ${name}`, () => new https.Agent({ ...direct, ...(context && { secureContext: context }) })),
    };
  }

  /** Asks the egress rules about the addresses of a name, which the proxy is going to resolve by itself. */
  async function check(url: URL, proxy: HttpProxy): Promise<void> {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    if (lookup === undefined || isIP(host) !== 0) return;
    const given = new AbortController();
    try {
      const late = sleep(connectTimeoutMs, given.signal).then(() => {
        throw Object.assign(new Error('DNS does not answer in time'), { code: 'EAI_AGAIN' });
      });
      await Promise.race([resolve(host, lookup), late]);
    } catch (error) {
      if (error instanceof ImageBuilderError) throw error;
      if (proxies.resolve) return;
      const { what, transient } = describeFailure(error) ?? { what: firstLine(error), transient: true };
      throw new UpstreamError(
        transient ? 'upstream.unreachable' : 'upstream.unusable',
        `${safeUrl(url)}: ${what}, so the egress rules cannot check its addresses; where only the proxy ${proxy.url} resolves names, the operator can leave that to it with IMAGEBUILDER_PROXY_RESOLVES`,
        { transient, cause: error },
      );
    } finally {
      given.abort();
    }
  }

  return {
    async to(url) {
      const proxy = proxyFor(url, proxies);
      const tls = contextFor(url);
      if (proxy === null) return { proxy, agent: directAgent(tls) };
      await check(url, proxy);
      const authority = `${url.hostname}:${portOf(url)}`;
      const tunnel = (signal: AbortSignal) => openProxyTunnel(authority, { ...toProxy(proxy), signal });
      // Each of the two proxies has agents of its own, which are made for URLs of its scheme alone.
      if (url.protocol === 'https:') {
        const make = () => new TunnelAgent(agentOptions, toProxy(proxy), tls.context);
        return { proxy, agent: { ...directAgent(tls), https: agentOf(`tunnel ${tls.name}`, make) }, tunnel };
      }
      const agent = agentOf('proxy', () => new ProxyAgent(agentOptions, toProxy(proxy)));
      return {
        ...{ proxy, tunnel, agent: { ...directAgent(tls), http: agent } },
        request: (_, given) => requestBy(proxy, agent, url, given),
      };
    },
    [Symbol.dispose]() {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

function resolve(host: string, lookup: LookupFunction): Promise<void> {
  return new Promise((done, fail) => {
    lookup(host, { all: true }, (error) => (error === null ? done() : fail(error)));
  });
}

/** A request with the whole URL in its first line (RFC 9112, 3.2.2), and the credentials of the proxy. */
function requestBy(proxy: HttpProxy, agent: http.Agent, url: URL, options: RequestOptions): ClientRequest {
  const { authorization } = proxy;
  return http.request({
    ...options,
    ...{ protocol: 'http:', host: proxy.host, hostname: proxy.host, port: proxy.port, agent, setHost: false },
    path: `${url.protocol}//${url.host}${url.pathname}${url.search}`,
    headers: {
      host: url.host,
      ...(options.headers as http.OutgoingHttpHeaders),
      ...(authorization !== null && { 'proxy-authorization': authorization }),
    },
  });
}

type ToProxy = Parameters<typeof connectToProxy>[0];
type OnConnection = (error: Error | null, socket: Duplex) => void;

/** Connections to a proxy, for requests with whole URLs. */
class ProxyAgent extends http.Agent {
  readonly #toProxy: ToProxy;
  constructor(options: AgentOptions, toProxy: ToProxy) {
    super(options);
    this.#toProxy = toProxy;
  }
  override createConnection(_options: unknown, done?: OnConnection): undefined {
    connectToProxy(this.#toProxy).then((socket) => done?.(null, socket), fail(done));
  }
}

/** TLS connections to servers, in tunnels through a proxy. */
class TunnelAgent extends https.Agent {
  readonly #toProxy: ToProxy;
  readonly #context: SecureContext | undefined;
  constructor(options: AgentOptions, toProxy: ToProxy, context: SecureContext | undefined) {
    super(options);
    this.#toProxy = toProxy;
    this.#context = context;
  }
  override createConnection(options: ConnectionOptions, done?: OnConnection): undefined {
    this.#connect(options).then((socket) => done?.(null, socket), fail(done));
  }

  async #connect(options: ConnectionOptions): Promise<Duplex> {
    const { proxy, connectTimeoutMs } = this.#toProxy;
    const host = options.host ?? '';
    const authority = `${isIP(host) === 6 ? `[${host}]` : host}:${options.port ?? 443}`;
    const socket = await openProxyTunnel(authority, this.#toProxy);
    const secured = tlsConnect({ ...options, socket, ...(this.#context && { secureContext: this.#context }) });
    const error = (what: string, transient: boolean, cause?: unknown) =>
      new UpstreamError(
        transient ? 'upstream.unreachable' : 'upstream.unusable',
        `https://${authority}, through the proxy ${proxy.url}: ${what}`,
        { transient, cause },
      );
    await withinLimit(secured, 'secureConnect', {
      limitMs: connectTimeoutMs,
      late: () => error('no TLS in time', true),
      failed(cause) {
        const { what, transient } = describeFailure(cause) ?? { what: firstLine(cause), transient: true };
        const advice = transient ? '' : '; where the proxy opens TLS, name its CA with IMAGEBUILDER_CA_FILE';
        return error(`${what}${advice}`, transient, cause);
      },
    });
    return secured;
  }
}

const fail = (done: OnConnection | undefined) => (error: Error) => {
  (done as ((error: Error) => void) | undefined)?.(error);
};
