import { createServer, type Socket } from 'node:net';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import { exampleRequest } from '#lib/api/examples.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { createLog } from '#lib/log.ts';
import { sendCallback } from '#lib/worker/callback.ts';
import { watchCancelUrl } from '#lib/worker/cancellation.ts';
import { listen } from '../../../lab/servers/listen.ts';

/** Answers of a cancel_url or a callback URL: none of them cancels, holds up, fills the memory, or leads elsewhere. */

const MiB = 2 ** 20;
const client = createHttpClient({
  egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
  connectTimeoutMs: 2_000,
  stallTimeoutMs: 300,
  userAgent: 'test',
});
const log = createLog({ level: 'error' });

/** A server that says to every connection whatever `say` says, and counts them. */
async function startServer(say: (socket: Socket, url: string) => void) {
  let calls = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      calls += 1;
      say(socket, listening.url);
    });
  });
  const listening = await listen(server);
  return { ...listening, calls: () => calls };
}

const answer = (body: string | Uint8Array, headers = '', status = '200 OK') =>
  Buffer.concat([
    Buffer.from(
      `HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.from(body).length}\r\nconnection: close\r\n${headers}\r\n`,
    ),
    Buffer.from(body),
  ]);

/** Writes for as long as the other side takes it. */
function endlessly(socket: Socket, text: string): void {
  const more = () => {
    while (!socket.destroyed && socket.write(text));
    socket.once('drain', more);
  };
  more();
}

const yes = '{"building": false}';
const hostile: Readonly<Record<string, (socket: Socket, url: string) => void>> = {
  'a body without end': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    endlessly(socket, ' '.repeat(65_536));
  },
  'headers without end': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    endlessly(socket, `x-header: ${'y'.repeat(1_000)}\r\n`);
  },
  'a header that drips': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nx-header: ');
    const drip = setInterval(() => socket.write('y'), 20);
    socket.once('close', () => clearInterval(drip));
  },
  'informational answers without end': (socket) => endlessly(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n'),
  'nothing at all': () => {},
  'half a head': (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-le'),
  'half a body': (socket) => void socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n${yes}`),
  'a length that lies': (socket) => void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{'),
  'what is no HTTP': (socket) => void socket.end('SSH-2.0-OpenSSH_9.9\r\n'),
  'a bomb in gzip': (socket) =>
    void socket.end(answer(gzipSync(Buffer.alloc(64 * MiB, ' ')), 'content-encoding: gzip\r\n')),
  'a bomb in brotli': (socket) =>
    void socket.end(answer(brotliCompressSync(Buffer.alloc(8 * MiB, ' ')), 'content-encoding: br\r\n')),
  'a redirect to itself': (socket, url) =>
    void socket.end(answer('', `location: ${url}/again\r\n`, '307 Temporary Redirect')),
  'a redirect to the cloud’s metadata': (socket) =>
    void socket.end(answer('', 'location: http://169.254.169.254/\r\n', '307 Temporary Redirect')),
  'a redirect to a file': (socket) =>
    void socket.end(answer('', 'location: file:///etc/passwd\r\n', '308 Permanent Redirect')),
  'JSON that nests': (socket) => void socket.end(answer('['.repeat(60_000))),
  'building as text': (socket) => void socket.end(answer('{"building": "false"}')),
  'building inherited': (socket) => void socket.end(answer('{"__proto__": {"building": false}}')),
  'building in an error': (socket) => void socket.end(answer(yes, '', '500 Internal Server Error')),
};

for (const [what, say] of Object.entries(hostile)) {
  test(`a cancel_url cancels nothing by answering ${what}, and is asked again`, async () => {
    await using server = await startServer(say);
    const stop = new AbortController();
    let cancelled = false;
    const before = process.memoryUsage().rss;
    await using _ = watchCancelUrl(server.url, {
      getJson: (url, { signal }) => client.getJson(url, { signal, maximumBytes: 64 * 1024, attempts: 1 }),
      pollMs: 1,
      signal: stop.signal,
      onCancel: () => {
        cancelled = true;
      },
      log,
    });
    await until(() => server.calls() >= 2);
    assert.is(cancelled, false);
    assert.ok(process.memoryUsage().rss - before < 128 * MiB);
  });
}

const event: BuildEvent = {
  build_id: '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c',
  ticket_id: 1,
  progress_trigger: exampleRequest.progress_trigger,
  sequence: 9,
  attempt: 1,
  time: '2026-01-02T03:04:05.000Z',
  worker: 'worker-a',
  state: 'completed',
  step: null,
  message: 'done',
  current: null,
  total: null,
  progress: 1,
};

test('an attempt at a callback ends in time whatever the receiver answers, and goes nowhere that the egress rules forbid', async () => {
  const outcomes = await Promise.all(
    Object.entries(hostile).map(async ([what, say]) => {
      await using server = await startServer(say);
      const { outcome } = await sendCallback({ url: server.url, callId: 'call', trace: null }, event, {
        post: async (url, body, headers, { signal }) => (await client.postJson(url, body, { headers, signal })).status,
        signingKey: null,
        durationSeconds: 1,
        // In earnest ten seconds. The stall limit of this client does not end every one of these.
        signal: AbortSignal.timeout(500),
      });
      return [what, outcome === 'taken'] as const;
    }),
  );
  // Only the head counts: what follows it is not read.
  const refused = outcomes.filter(([, taken]) => !taken).map(([what]) => what);
  for (const what of [
    'nothing at all',
    'headers without end',
    'a header that drips',
    'informational answers without end',
    'what is no HTTP',
    'building in an error',
  ]) {
    assert.ok(refused.includes(what), what);
  }
  for (const [what, taken] of outcomes) if (what.startsWith('a redirect')) assert.is(taken, false, what);
});

async function until(done: () => boolean): Promise<void> {
  const limit = AbortSignal.timeout(30_000);
  while (!done()) {
    limit.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test.after(() => client[Symbol.dispose]());

test.run();
