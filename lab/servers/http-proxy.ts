import { once } from 'node:events';
import http from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Listening, listen } from './listen.ts';

/** A proxy as companies have them, on loopback: whole URLs for http, CONNECT for the rest, and credentials where wanted. */
export interface LabProxy extends Listening {
  /** `METHOD target` of every request so far; those refused for credentials count, too. */
  readonly requests: readonly string[];
  /** Proxy-Authorization of each of them. */
  readonly authorizations: readonly (string | undefined)[];
}

export interface LabProxyOptions {
  /** `user:password`. */
  readonly credentials?: string;
  /** Names that this proxy alone resolves. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Status of the answer to every CONNECT. */
  readonly connectStatus?: number;
  readonly server?: http.Server;
}

export async function startLabProxy(options: LabProxyOptions = {}): Promise<LabProxy> {
  const { credentials, hosts = {}, connectStatus, server = http.createServer() } = options;
  const requests: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const wanted = credentials === undefined ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`;
  const addressOf = ({ hostname, port }: URL) => {
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    return { host: hosts[host] ?? host, port: Number(port) || 80 };
  };
  const note = ({ method, url, headers }: http.IncomingMessage): boolean => {
    requests.push(`${method} ${url}`);
    authorizations.push(headers['proxy-authorization']);
    return wanted === undefined || headers['proxy-authorization'] === wanted;
  };

  const forward: http.RequestListener = (request, response) => {
    if (!note(request)) return void response.writeHead(407, { 'proxy-authenticate': 'Basic realm="lab"' }).end();
    const url = new URL(request.url ?? '');
    const { 'proxy-authorization': _, ...headers } = request.headers;
    const { method } = request;
    const target = { ...addressOf(url), path: url.pathname + url.search, method, headers, setHost: false };
    const onward = http.request(target, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('continue', () => response.writeContinue());
    onward.on('error', () => response.writeHead(502).end());
    request.pipe(onward);
  };
  server.on('request', forward);
  server.on('checkContinue', forward);
  server.on('connect', (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => {});
    const allowed = note(request);
    if (!allowed || connectStatus !== undefined) {
      socket.end(`HTTP/1.1 ${allowed ? connectStatus : 407} Refused\r\n\r\n`);
      return;
    }
    const upstream = connect(addressOf(new URL(`http://${request.url}`)));
    upstream.on('error', () => socket.destroy());
    void once(upstream, 'connect').then(() => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
  });
  return { ...(await listen(server)), requests, authorizations };
}
