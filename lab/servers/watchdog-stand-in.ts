import { spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A stand-in for OpenFaaS's of-watchdog, which cannot be had in every laboratory. Only for tests of our image: it
 * behaves in mode http as of-watchdog 0.11.6 was seen to, with the same environment variables, and no more.
 *
 * - starts `fprocess`, split at spaces, without a shell, and ends with 1 when that fails
 * - passes calls to `port` (8080) on to `upstream_url`; 429 beyond `max_inflight`; 504 after `exec_timeout`
 * - .lock in the folder for temporary files and `/_/health` show that it is up
 * - SIGTERM: passed to the function at once; the lock goes and health is 503; calls are passed on for
 *   `healthcheck_interval` more; then no more connections, the calls in flight end, exit code 0
 */

const lockFile = join(tmpdir(), '.lock');
const environment = process.env;
const upstream = new URL(environment.upstream_url ?? 'http://127.0.0.1:3000');
const maximumInFlight = Number(environment.max_inflight ?? 0);
const execTimeoutMs = milliseconds(environment.exec_timeout ?? '30s');
const healthcheckIntervalMs = milliseconds(environment.healthcheck_interval ?? environment.write_timeout ?? '30s');
let inFlight = 0;
let healthy = true;

const [file = '', ...args] = (environment.fprocess ?? '').split(' ');
const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'] });
child.on('error', (error) => end(1, `the function cannot be started: ${error.message}`));
child.on('exit', (code, signal) => {
  if (code !== 0) end(1, `the function has ended: ${signal ?? code}`);
});

const server = createServer((incoming, answer) => {
  if (incoming.url === '/_/health') {
    answer.writeHead(healthy ? 200 : 503).end();
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
  const { method, url, headers } = incoming;
  const outgoing = request({ host: upstream.hostname, port: upstream.port, method, path: url, headers, agent: false });
  const timer = setTimeout(() => {
    if (!answer.headersSent) answer.writeHead(504, { 'X-OpenFaaS-Internal': 'of-watchdog' }).end();
    outgoing.destroy();
  }, execTimeoutMs);
  outgoing.on('response', (response) => {
    answer.writeHead(response.statusCode ?? 500, response.headers);
    response.on('error', () => answer.destroy()).pipe(answer);
  });
  outgoing.on('error', () => {
    if (!answer.headersSent) answer.writeHead(500).end();
  });
  answer.once('close', () => {
    clearTimeout(timer);
    if (!answer.writableFinished) outgoing.destroy();
  });
  incoming.pipe(outgoing);
});
server.listen(Number(environment.port ?? 8080), () => writeFileSync(lockFile, ''));

process.on('SIGTERM', () => {
  healthy = false;
  rmSync(lockFile, { force: true });
  child.kill('SIGTERM');
  setTimeout(() => server.close(() => end(0, 'every call has ended')), healthcheckIntervalMs);
});

function end(code: number, message: string): never {
  process.stderr.write(`watchdog stand-in: ${message}\n`);
  process.exit(code);
}

/** A duration as Go writes it, of one unit: `500ms`, `30s`, `2m`, `4h`. */
function milliseconds(duration: string): number {
  const match = /^([0-9]+)(ms|s|m|h)$/.exec(duration);
  const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  if (match === null) return end(1, `"${duration}" is not a duration`);
  return Number(match[1]) * (units[match[2] ?? ''] ?? 0);
}
