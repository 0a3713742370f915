import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';

/**
 * A stand-in for OpenFaaS's of-watchdog, which cannot be had in every laboratory. Only for tests of our image: it does
 * in mode http what pkg/watchdog.go and executor/http_runner.go of of-watchdog 0.11 do, with the same environment
 * variables, and no more.
 *
 * - starts `fprocess`, split at spaces, without a shell, and ends with 1 when that fails
 * - passes calls to `port` (8080) on to `upstream_url`; an empty 500 where nobody listens there; 429 beyond
 *   `max_inflight`; 504 after `exec_timeout`
 * - reads an answer whole before it sends any of it, unless its caller asks for a stream of events. Where an answer is
 *   cut off, it sends the part as though it were all. A stream of events is not held to `exec_timeout`, and cut after
 *   `write_timeout`
 * - `/_/health` shows whether `.lock` is in the folder for temporary files. It writes the file as soon as it listens,
 *   unless `suppress_lock` leaves that to the function
 * - SIGTERM: passed to the function at once; the lock goes and health is 503; calls are passed on for
 *   `healthcheck_interval` more; then no more connections, the calls in flight end, exit code 0. The function is killed
 *   then, as the end of a container's first process kills the others
 */

const environment = process.env;
const lockFile = `${environment.TMPDIR || '/tmp'}/.lock`;
const upstream = new URL(environment.upstream_url ?? 'http://127.0.0.1:3000');
const maximumInFlight = Number(environment.max_inflight ?? 0);
const execTimeoutMs = milliseconds(environment.exec_timeout ?? '30s');
const writeTimeoutMs = milliseconds(environment.write_timeout ?? '30s');
const healthcheckIntervalMs = milliseconds(environment.healthcheck_interval ?? environment.write_timeout ?? '30s');
let inFlight = 0;
let accepting = true;

const [file = '', ...args] = (environment.fprocess ?? '').split(' ');
const child: ChildProcess = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'] });
child.on('error', (error) => end(1, `the function cannot be started: ${error.message}`));
child.on('exit', (code, signal) => {
  if (code !== 0) end(1, `the function has ended: ${signal ?? code}`);
});

const server = createServer((incoming, answer) => {
  if (incoming.url === '/_/health') {
    answer.writeHead(accepting && existsSync(lockFile) ? 200 : 503).end();
    return;
  }
  if (maximumInFlight > 0 && inFlight >= maximumInFlight) {
    answer.writeHead(429).end();
    return;
  }
  inFlight += 1;
  answer.once('close', () => {
    inFlight -= 1;
  });
  passOn(incoming, answer);
});

function passOn(incoming: IncomingMessage, answer: ServerResponse): void {
  const { method, url, headers } = incoming;
  const outgoing = request({ host: upstream.hostname, port: upstream.port, method, path: url, headers, agent: false });
  const events = /text\/event-stream|application\/x-ndjson/i.test(headers.accept ?? '');
  let begun = false;
  const timeoutMs = events ? writeTimeoutMs : execTimeoutMs;
  const timer = setTimeout(() => {
    if (events) answer.destroy();
    else if (!begun) answer.writeHead(504, { 'X-OpenFaaS-Internal': 'of-watchdog' }).end();
    outgoing.destroy();
  }, timeoutMs);
  outgoing.on('response', (response) => {
    begun = true;
    if (events) {
      answer.writeHead(response.statusCode ?? 500, response.headers);
      // Of a stream, Go sends the head at once too.
      answer.flushHeaders();
      response.on('error', () => answer.destroy()).pipe(answer);
    } else {
      void sendWhole(response, answer);
    }
  });
  outgoing.on('error', () => {
    if (!begun && !answer.headersSent) answer.writeHead(500, { 'X-OpenFaaS-Internal': 'of-watchdog' }).end();
  });
  answer.once('close', () => {
    clearTimeout(timer);
    if (!answer.writableFinished) outgoing.destroy();
  });
  incoming.pipe(outgoing);
}

async function sendWhole(response: IncomingMessage, answer: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk);
  } catch {
    // An answer that was cut off: the part that has come is sent.
  }
  const body = Buffer.concat(chunks);
  const { 'transfer-encoding': _, ...headers } = response.headers;
  answer.writeHead(response.statusCode ?? 500, headers);
  // Go closes a connection on which it has sent less than the content-length says.
  const missing = answer.req.method !== 'HEAD' && Number(headers['content-length'] ?? 0) > body.length;
  if (missing) answer.write(body, () => answer.destroy());
  else answer.end(body);
}

server.listen(Number(environment.port ?? 8080), () => {
  if (environment.suppress_lock !== 'true') writeFileSync(lockFile, '');
});

process.on('SIGTERM', () => {
  accepting = false;
  rmSync(lockFile, { force: true });
  child.kill('SIGTERM');
  setTimeout(() => server.close(() => end(0, 'every call has ended')), healthcheckIntervalMs);
});

function end(code: number, message: string): never {
  process.stderr.write(`watchdog stand-in: ${message}\n`);
  child.kill('SIGKILL');
  process.exit(code);
}

/** A duration as Go writes it, of one unit: `500ms`, `30s`, `2m`, `4h`. */
function milliseconds(duration: string): number {
  const match = /^([0-9]+)(ms|s|m|h)$/.exec(duration);
  const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  if (match === null) return end(1, `"${duration}" is not a duration`);
  return Number(match[1]) * (units[match[2] ?? ''] ?? 0);
}
