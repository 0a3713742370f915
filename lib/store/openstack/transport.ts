import { type ConnectionsOptions, createConnections, type HttpRequest } from '../../http/connections.ts';
import { type HttpResponse, readText } from '../../http/response.ts';
import { type Answer, exchangeError } from './error.ts';

/**
 * HTTP to OpenStack. It is separate from the client for URLs of requests, because it reaches the operator's own servers
 * at any address and uses their own CA. Makes one attempt each, and follows no redirect, so that the token goes nowhere
 * else.
 */
export interface Transport {
  /**
   * Resolves with the answer, whatever its status. Throws UpstreamError where none comes or it has more than 16 MiB,
   * the error of reading the file, or the signal's reason.
   */
  send(request: TransportRequest): Promise<Answer>;
  /** Resolves at the head of the answer; otherwise as `send`. */
  open(request: TransportRequest): Promise<HttpResponse>;
}

export interface TransportRequest extends Omit<HttpRequest, 'totalTimeoutMs'> {
  /** Name of the server in messages. */
  readonly server: string;
  readonly url: string;
  readonly signal: AbortSignal;
}

const answerTimeoutMs = 60_000;
/** Far larger than a catalogue or a page of a list. */
const maximumAnswerBytes = 16 * 1024 * 1024;

/** Makes the transport. Connections are not kept: a build makes few calls, and uwsgi closes idle ones without notice. */
export function createTransport(options: Omit<ConnectionsOptions, 'keepAlive' | 'lookup'>): Transport {
  const connections = createConnections({ ...options, keepAlive: false });
  return {
    async send({ server, url, ...request }) {
      const limit = request.file === undefined ? { totalTimeoutMs: answerTimeoutMs } : {};
      try {
        using response = await connections.send(url, { ...request, ...limit });
        return await readText(response, maximumAnswerBytes);
      } catch (error) {
        throw exchangeError(server, url, error);
      }
    },
    async open({ server, url, ...request }) {
      try {
        return await connections.send(url, request);
      } catch (error) {
        throw exchangeError(server, url, error);
      }
    },
  };
}
