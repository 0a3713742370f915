import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { listen } from './listen.ts';

/** A server that passes on the answers of another one, with the faults that a test asks for. */
export interface FaultyServer extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly url: string;
  /** `METHOD /path` of every request so far, the faulty ones included. */
  readonly requests: readonly string[];
  /**
   * Answers every request whose path matches, or the next `times` of them, with the fault. A request for a range is
   * matched as `/path bytes=0-99`. Later rules come first.
   */
  fault(path: RegExp, fault: Fault, times?: number): void;
  /** Ends all faults. */
  mend(): void;
}

export type Fault =
  | { readonly kind: 'status'; readonly status: number; readonly headers?: http.OutgoingHttpHeaders }
  /** Takes the request and never answers. */
  | { readonly kind: 'silent' }
  /** Sends so many bytes of the body and then nothing more. */
  | { readonly kind: 'stall'; readonly afterBytes: number }
  /** Sends so many bytes of the body and closes the connection. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** Sends a byte now and then. */
  | { readonly kind: 'drip'; readonly everyMs: number }
  /** Half of the body as if it were all, or some bytes more than it has. */
  | { readonly kind: 'short' | 'long' }
  | { readonly kind: 'redirect'; readonly to: string }
  /** Other bytes of the same length. */
  | { readonly kind: 'other' }
  /** This body, with status 200. */
  | { readonly kind: 'body'; readonly body: string };

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Starts one before `target`, the URL of a server without a slash at its end. */
export async function startFaultyServer(target: string): Promise<FaultyServer> {
  const requests: string[] = [];
  let rules: { readonly path: RegExp; readonly fault: Fault; left: number }[] = [];
  const closing = new AbortController();

  function faultOf(path: string): Fault | null {
    const rule = rules.find((candidate) => candidate.left > 0 && candidate.path.test(path));
    if (rule === undefined) return null;
    rule.left -= 1;
    return rule.fault;
  }

  const server = http.createServer((request, response) => {
    const path = request.url ?? '/';
    requests.push(`${request.method} ${path}`);
    const { range } = request.headers;
    const fault = faultOf(decodeURIComponent(path) + (range === undefined ? '' : ` ${range}`));
    respond(target, request, response, fault, closing.signal).catch(() => response.destroy());
  });
  const { url, ...listening } = await listen(server);
  return {
    url,
    requests,
    fault(path, fault, times = Number.POSITIVE_INFINITY) {
      rules = [{ path, fault, left: times }, ...rules];
    },
    mend() {
      rules = [];
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await listening[Symbol.asyncDispose]();
    },
  };
}

async function respond(
  target: string,
  request: IncomingMessage,
  response: ServerResponse,
  fault: Fault | null,
  signal: AbortSignal,
): Promise<void> {
  switch (fault?.kind) {
    case 'silent':
      return;
    case 'status':
      response.writeHead(fault.status, fault.headers).end();
      return;
    case 'redirect':
      response.writeHead(302, { location: fault.to }).end();
      return;
    case 'body':
      response.writeHead(200, { 'content-length': Buffer.byteLength(fault.body) }).end(fault.body);
      return;
  }
  const { status, headers, body } = await ask(target, request);
  const changed = fault === null ? body : changedBody(fault, body);
  const { 'transfer-encoding': _, connection: __, ...kept } = headers;
  const length = body.length === 0 ? {} : { 'content-length': changed.length };
  response.writeHead(status, { ...kept, ...length });
  switch (fault?.kind) {
    case 'stall':
      response.write(changed.subarray(0, fault.afterBytes));
      return;
    case 'cut':
      // Bytes under way may be lost when a connection breaks, so it is cut once the kernel has taken them.
      response.write(changed.subarray(0, fault.afterBytes), () => response.destroy());
      return;
    case 'drip':
      for (const byte of changed) {
        response.write(Buffer.of(byte));
        await sleep(fault.everyMs, undefined, { signal });
        if (response.destroyed) return;
      }
      response.end();
      return;
    default:
      response.end(changed);
  }
}

function changedBody(fault: Fault, body: Buffer): Buffer {
  if (fault.kind === 'short') return body.subarray(0, Math.floor(body.length / 2));
  if (fault.kind === 'long') return Buffer.concat([body, Buffer.from('and more')]);
  if (fault.kind === 'other') return Buffer.alloc(body.length, 'x');
  return body;
}

async function ask(target: string, { method, url, headers }: IncomingMessage): Promise<Answer> {
  const { host: _, connection: __, ...passed } = headers;
  const request = http.request(target + url, { method, headers: passed, agent: false });
  request.end();
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return { status: answer.statusCode ?? 500, headers: answer.headers, body: Buffer.concat(chunks) };
}
