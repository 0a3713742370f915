import { orAborted } from '../../async.ts';
import { safeUrl } from '../../errors.ts';
import type { FilePart } from '../../http/file-part.ts';
import type { HttpResponse } from '../../http/response.ts';
import { type RetryPolicy, retrying } from '../../http/retrying.ts';
import { type Endpoint, findEndpoint } from './catalogue.ts';
import type { OpenStackConfiguration } from './configuration.ts';
import { type Answer, answerError, storeError } from './error.ts';
import { authenticate, type Token } from './identity.ts';
import { type ServiceType, serviceNames } from './services.ts';
import type { Transport } from './transport.ts';

/**
 * Calls to Glance and Swift with a token of Keystone. The token is kept until shortly before it expires, renewed by one
 * request at a time, and dropped when a service refuses it.
 */
export interface Session {
  readonly source: string;
  /** Id of the project that the token is for. */
  projectId(options: CallOptions): Promise<string>;
  endpoint(service: ServiceType, options: CallOptions): Promise<Endpoint>;
  /**
   * Tries again where that helps, until patience ends. Throws UpstreamError for a status that is neither 200 to 299
   * nor among `okStatuses`.
   */
  send(service: ServiceType, call: Call): Promise<Answer>;
  /**
   * GETs a URL of the service, one attempt, and resolves at the head of the answer, whatever its status. Throws
   * `store.refused` for a URL of another server, which must not get the token.
   */
  open(
    service: ServiceType,
    url: string,
    options: CallOptions & { readonly headers: Readonly<Record<string, string>> },
  ): Promise<HttpResponse>;
  /** PUTs a part of a file, one attempt. Throws UpstreamError for any status but 200 to 299. */
  upload(service: ServiceType, call: Omit<Call, 'method' | 'body'> & { readonly body: FilePart }): Promise<Answer>;
}

export interface CallOptions {
  readonly signal: AbortSignal;
}

export interface Call extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path below the endpoint, with a slash first; or a function of the endpoint where the path is not below it. */
  readonly path: string | ((endpoint: string) => string);
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly okStatuses?: readonly number[];
  /** Statuses that may pass in this call, beyond those that may pass in any. */
  readonly alsoTransient?: readonly number[];
  /** Limits for retries of `send`. Default: those of the session. */
  readonly retry?: RetryPolicy;
}

export interface SessionOptions {
  readonly configuration: OpenStackConfiguration;
  readonly transport: Transport;
  readonly retry: RetryPolicy;
}

/** Makes a session; nothing is sent before the first call. */
export function createSession({ configuration, transport, retry }: SessionOptions): Session {
  let current: Token | null = null;
  let renewal: Promise<Token> | null = null;

  async function token({ signal }: CallOptions): Promise<Token> {
    if (current !== null && Date.now() < current.renewAt) return current;
    // Without a caller's signal, since others may be waiting for the same token.
    renewal ??= authenticate(configuration, transport, never)
      .then((renewed) => {
        current = renewed;
        return renewed;
      })
      .finally(() => {
        renewal = null;
      });
    return orAborted(renewal, signal);
  }

  /** The endpoint that the cloud's settings name, or else that of the catalogue. */
  function endpointOf(service: ServiceType, { catalog, projectId }: Token): Endpoint {
    const choice = configuration.services[service];
    if (choice.endpoint === null) return findEndpoint(catalog, { ...choice, type: service });
    const url = choice.endpoint.replace(/[%$]\((project|tenant)_id\)s/g, () => projectId);
    return { url, region: choice.region ?? '' };
  }

  const patientToken = ({ signal }: CallOptions) => retrying(() => token({ signal }), { signal, policy: retry });

  async function sendOnce(service: ServiceType, call: Call, file?: FilePart): Promise<Answer> {
    const used = await token(call);
    const { url } = endpointOf(service, used);
    const server = serviceNames[service];
    const answer = await transport.send({
      server,
      method: call.method,
      url: typeof call.path === 'string' ? url + call.path : call.path(url),
      headers: {
        ...(call.json === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
        'x-auth-token': used.id,
      },
      ...(call.json === undefined ? {} : { body: JSON.stringify(call.json) }),
      ...(file && { file }),
      signal: call.signal,
    });
    const { status } = answer;
    if ((status >= 200 && status < 300) || call.okStatuses?.includes(status) === true) return answer;
    if (status === 401 && current === used) current = null;
    throw answerError(server, answer, call);
  }

  return {
    source: configuration.source,
    projectId: async (options) => (await patientToken(options)).projectId,
    endpoint: async (service, options) => endpointOf(service, await patientToken(options)),
    send: (service, call) =>
      retrying(() => sendOnce(service, call), { signal: call.signal, policy: call.retry ?? retry }),
    async open(service, url, { headers, signal }) {
      const used = await patientToken({ signal });
      const server = serviceNames[service];
      const endpoint = endpointOf(service, used).url;
      if (!URL.canParse(url) || new URL(url).origin !== new URL(endpoint).origin) {
        throw storeError(`${safeUrl(url)} is not of this cloud, whose ${server} is at ${safeUrl(endpoint)}`, {
          transient: false,
        });
      }
      return await transport.open({ server, url, headers: { ...headers, 'x-auth-token': used.id }, signal });
    },
    upload: (service, { body, ...call }) => sendOnce(service, { ...call, method: 'PUT' }, body),
  };
}

const never = new AbortController().signal;

/** An endpoint in plain words. */
export function describeEndpoint({ url, region }: { readonly url: string; readonly region: string }): string {
  return `${url}${region === '' ? '' : ` in the region ${region}`}`;
}
