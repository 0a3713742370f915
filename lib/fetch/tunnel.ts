import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { HttpClient } from '../http/client.ts';
import { tunnelPort } from '../http/egress.ts';
import { createRateGuard } from '../http/rate.ts';
import { tooSlow, toUpstreamError } from '../http/upstream-error.ts';

export interface TunnelOptions {
  /** Checked by the egress rules; only its host and port matter. */
  readonly url: URL;
  /** apt's connection, and the bytes that it has sent already. */
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly client: HttpClient;
  readonly signal: AbortSignal;
}

/**
 * Connects to the server, confirms that to apt, and passes bytes both ways until one side is done or the server only
 * drips. Throws `egress.refused` or `upstream.*` while nothing has been answered yet.
 */
export async function openTunnel(options: TunnelOptions): Promise<void> {
  const { url, socket, head, client, signal } = options;
  const upstream = await client.retry(() => connectTo(url, client, signal), { signal });
  upstream.setTimeout(client.stallTimeoutMs * 2, () => upstream.destroy());
  const isTooSlow = createTunnelGuard(client.stallTimeoutMs);
  upstream.on('data', (chunk: Buffer) => {
    if (isTooSlow(chunk.length)) upstream.destroy();
  });
  socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
  if (head.length > 0) upstream.write(head);
  // Errors at the end of a tunnel concern only its two ends.
  await Promise.allSettled([pipeline(socket, upstream, { signal }), pipeline(upstream, socket, { signal })]);
  upstream.destroy();
  socket.destroy();
}

/**
 * Recognises a server that drips. The bytes inside a tunnel are encrypted, so a pause of the length of a stall counts
 * as the end of an answer: the two sides may have nothing to say to each other.
 */
function createTunnelGuard(stallTimeoutMs: number): (bytes: number) => boolean {
  const rate = createRateGuard(stallTimeoutMs);
  let lastMs = performance.now();
  return (bytes) => {
    const waitedMs = performance.now() - lastMs;
    lastMs += waitedMs;
    if (waitedMs < stallTimeoutMs) return rate.isTooSlow(waitedMs, bytes);
    rate.reset();
    return false;
  };
}

async function connectTo(url: URL, client: HttpClient, signal: AbortSignal): Promise<Socket> {
  const proxied = await client.tunnel(url, { signal });
  if (proxied !== null) {
    // Stays: errors at the end of a tunnel are of no interest.
    proxied.on('error', () => {});
    return proxied;
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const upstream = connect({ host, port: tunnelPort(url), lookup: client.egress.lookup });
  const late = () => upstream.destroy(tooSlow(url, 'could not be connected to in time'));
  const timer = setTimeout(late, client.connectTimeoutMs);
  // Stays: errors at the end of a tunnel are of no interest.
  upstream.on('error', () => {});
  try {
    await once(upstream, 'connect', { signal });
    return upstream;
  } catch (error) {
    upstream.destroy();
    signal.throwIfAborted();
    throw toUpstreamError(error, url);
  } finally {
    clearTimeout(timer);
  }
}
