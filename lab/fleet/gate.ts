import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { proxyPort } from '#lib/guest/host/messages.ts';
import { listen } from '../servers/listen.ts';

/**
 * A place where a package's script waits until a test lets it go on, so that a build can be held in its installation. A
 * script inside the image sends a request through the proxy of its build, and goes on when it is answered. The worker
 * itself (hold.ts) connects, and goes on when the connection is closed.
 */
export interface Gate extends AsyncDisposable {
  /** Shell text, for bash, that waits at the gate. */
  readonly script: string;
  readonly port: number;
  /** Closed: scripts wait. Open: they pass, also those that wait. */
  close(): void;
  open(): void;
  /**
   * Resolves when a script, or so many workers, have reached the closed gate since it was closed; throws when nobody comes
   * for two minutes.
   */
  reached(count?: number): Promise<void>;
}

const patienceMs = 120_000;
const pass = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

export async function startGate(): Promise<Gate> {
  const waiting = new Set<Socket>();
  let closed = false;
  let arrived = 0;
  let arrival = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.resume();
    if (!closed) return void socket.end(pass);
    waiting.add(socket);
    socket.once('close', () => waiting.delete(socket));
    arrived += 1;
    arrival.resolve();
    arrival = Promise.withResolvers();
  });
  const listening = await listen(server);
  const open = () => {
    closed = false;
    for (const socket of waiting) socket.end(pass);
  };
  const { port } = listening;
  return {
    // The proxy gives up on a gate that stays closed for long, so the script asks again.
    script: `bash -c 'until exec 3<>/dev/tcp/127.0.0.1/${proxyPort} && printf "HEAD http://127.0.0.1:${port}/ HTTP/1.0\\r\\n\\r\\n" >&3 && read -r -u 3 version status rest && [ "$status" = 200 ]; do sleep 0.1; done'`,
    port,
    close() {
      closed = true;
      arrived = 0;
    },
    open,
    async reached(count = 1) {
      while (arrived < count) {
        const waiting = new AbortController();
        const inVain = sleep(patienceMs, undefined, { signal: waiting.signal }).then(() => {
          throw new Error(`no script came to the gate within ${patienceMs / 1000} s`);
        });
        try {
          await Promise.race([arrival.promise, inVain]);
        } finally {
          waiting.abort();
          await inVain.catch(() => {});
        }
      }
    },
    async [Symbol.asyncDispose]() {
      open();
      await listening[Symbol.asyncDispose]();
    },
  };
}
