import { createServer, request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type Listening, listen } from './listen.ts';

/**
 * A stand-in for the asynchronous half of OpenFaaS CE (gateway 0.27 and queue worker 0.14 with NATS), which cannot be had
 * in every laboratory: `/async-function/NAME` of the gateway, and the queue behind it.
 *
 * - every call is answered with 202 and waits in one queue, whatever its function
 * - one call at a time is made for the whole cluster, and waited for up to the gateway's upstream_timeout
 * - a call that took longer than `ack_wait` is made again, once for each `ack_wait` that has passed
 * - an answer, whatever its status, ends the call: none is repeated for it
 */
export interface AsyncGateway extends Listening {
  /** Where each function is; a call goes to the next address of its list. Kubernetes would choose by chance. */
  readonly replicas: Map<string, readonly Address[]>;
  /** The calls that have ended, in order. */
  readonly calls: readonly AsyncCall[];
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface AsyncCall {
  readonly name: string;
  /** Status of the function's answer, 502 where none came. */
  readonly status: number;
  /** Time in the queue. */
  readonly waitedMs: number;
}

export interface AsyncGatewayOptions {
  /** Of the gateway; OpenFaaS's default is 60 s. */
  readonly upstreamTimeoutMs?: number;
  /** Of the queue worker; OpenFaaS's default is 60 s. */
  readonly ackWaitMs?: number;
}

interface Message {
  readonly name: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  readonly cameAt: number;
  readonly repeated: boolean;
}

export async function startAsyncGateway(options: AsyncGatewayOptions = {}): Promise<AsyncGateway> {
  const { upstreamTimeoutMs = 60_000, ackWaitMs = 60_000 } = options;
  const replicas = new Map<string, readonly Address[]>();
  const calls: AsyncCall[] = [];
  const queue: Message[] = [];
  let turn = 0;
  let busy = false;

  const work = async () => {
    if (busy) return;
    busy = true;
    for (let message = queue.shift(); message !== undefined; message = queue.shift()) {
      const startedAt = performance.now();
      const addresses = replicas.get(message.name) ?? [];
      const address = addresses[turn++ % addresses.length];
      const status = address === undefined ? 404 : await send(address, message, upstreamTimeoutMs);
      calls.push({ name: message.name, status, waitedMs: startedAt - message.cameAt });
      const again = message.repeated ? 0 : Math.floor((performance.now() - startedAt) / ackWaitMs);
      for (let count = 0; count < again; count += 1) queue.push({ ...message, repeated: true });
    }
    busy = false;
  };

  const server = createServer(async (incoming, answer) => {
    const [, name, path = '/'] = /^\/async-function\/([a-z-]+)(\/.*)?$/.exec(incoming.url ?? '') ?? [];
    if (name === undefined) return void answer.writeHead(404).end();
    const { host: _, connection: __, ...headers } = incoming.headers;
    const body = await buffer(incoming);
    queue.push({ name, path, headers, body, cameAt: performance.now(), repeated: false });
    answer.writeHead(202).end();
    void work();
  });
  const listening = await listen(server);
  return { ...listening, replicas, calls };
}

function send(address: Address, { path, headers, body }: Message, timeoutMs: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const outgoing = request({ ...address, method: 'POST', path, headers, agent: false }, (incoming) => {
    incoming
      .on('error', () => resolve(502))
      .on('end', () => resolve(incoming.statusCode ?? 502))
      .resume();
  });
  outgoing.on('error', () => resolve(502)).end(body);
  const timer = setTimeout(() => outgoing.destroy(), timeoutMs);
  return promise.finally(() => clearTimeout(timer));
}
