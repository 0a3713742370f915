import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { parseGoDuration } from './duration.ts';
import { log } from './log.ts';

/**
 * OpenFaaS's of-watchdog, as far as a function behind it must know it.
 *
 * - Its path `/_/health`, which Kubernetes asks for readiness and (OpenFaaS CE) for liveness, answers 200 while its lock
 *   file exists. With `suppress_lock=true` it leaves the file to the function; otherwise it writes it as soon as it has
 *   started the function, seconds before that listens.
 * - At SIGTERM it removes the file, passes the signal on, and goes on taking calls for `healthcheck_interval`. Then it
 *   waits for the calls that are on, and ends, and the container with it.
 * - It reads an answer to its end before it sends any of it, unless the request accepts a stream of events. An answer
 *   that is cut off reaches the caller as far as it has come, and whole by all appearance where it has no
 *   content-length. A stream of events has no exec_timeout; write_timeout cuts it like every answer.
 *
 * Source: pkg/watchdog.go and executor/http_runner.go of of-watchdog 0.11.
 */
export interface Watchdog {
  readonly lockFile: string;
  readonly stopDelayMs: number;
}

const mostCollectedBytes = 1024 * 1024;

type Environment = Readonly<Record<string, string | undefined>>;

/** OpenFaaS CE kills a container that is not healthy 4 s after its start: it asks at 0, 2 and 4 s. */
const readyAtLatestMs = 2_500;
/** Calls are taken for this long after SIGTERM at most: by then every gateway knows. */
const noticeMs = 15_000;
/** Part of healthcheck_interval that is kept for the ends of calls and close() of the handler. */
const closeMs = 5_000;

/** The watchdog around this process; undefined where there is none. Throws an Error that names the variable at fault. */
export function readWatchdog(environment: Environment): Watchdog | undefined {
  // `imagebuilder serve` connects by a socket, also when it runs in an image that was made for the watchdog.
  if (environment.suppress_lock !== 'true' || environment.LISTEN_SOCKET) return undefined;
  const text = environment.healthcheck_interval || environment.write_timeout || '30s';
  const intervalMs = parseGoDuration(text);
  if (intervalMs === undefined) {
    throw new Error(`healthcheck_interval is "${text}": it must be a duration such as 20s`);
  }
  return {
    lockFile: join(environment.TMPDIR || '/tmp', '.lock'),
    stopDelayMs: Math.min(noticeMs, Math.max(intervalMs - closeMs, intervalMs / 2)),
  };
}

/**
 * Bytes of a stream that are collected for their content-length. That delays nothing, since the watchdog sends nothing
 * before the end, but for requests that accept a stream of events.
 */
export function collectedBytes({ accept = '' }: Readonly<Record<string, string>>): number {
  return accept.includes('text/event-stream') || accept.includes('application/x-ndjson') ? 0 : mostCollectedBytes;
}

/** Removes the lock of a process that ran in this container or pod before. */
export async function clearLock({ lockFile }: Watchdog): Promise<void> {
  await rm(lockFile, { force: true }).catch((error: unknown) => warn('removed', lockFile, error));
}

/** Shows the watchdog that the function answers calls. */
export async function writeLock({ lockFile }: Watchdog): Promise<void> {
  await writeFile(lockFile, '').catch((error: unknown) => warn('written', lockFile, error));
}

/**
 * Writes the lock 2.5 s after the start of the process, unless it is disposed before. A thread of its own does that,
 * because loading a handler keeps the first thread busy.
 */
export function writeLockInTime({ lockFile }: Watchdog): AsyncDisposable {
  const source = `const { lockFile, delayMs } = require('node:worker_threads').workerData;
    setTimeout(() => require('node:fs').writeFileSync(lockFile, ''), delayMs);`;
  const workerData = { lockFile, delayMs: Math.max(0, readyAtLatestMs - process.uptime() * 1_000) };
  const thread = new Worker(source, { eval: true, workerData });
  thread.on('error', (error) => warn('written', lockFile, error));
  return {
    async [Symbol.asyncDispose]() {
      await thread.terminate();
    },
  };
}

function warn(done: string, lockFile: string, error: unknown): void {
  log('warn', `the lock file of the watchdog cannot be ${done}; its health does not show this function`, {
    lock_file: lockFile,
    error,
  });
}
