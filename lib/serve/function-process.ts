import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { onAbort, orAborted, pause } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import { collectLines } from '../exec.ts';
import type { Log } from '../log.ts';
import { type Backoff, backoffMs } from '../retry.ts';
import { waitFor } from '../wait-for.js';
import { accepts } from './socket.ts';

/**
 * One function as a child process: started from the template as in its image, listening on a Unix socket, started
 * again when it dies.
 */
export interface FunctionProcess {
  readonly name: string;
  readonly socketPath: string;
  /** The child's process id, undefined while there is none. */
  readonly pid: number | undefined;
  readonly ready: boolean;
  /** A call was cut off: the function counts as not ready until it is clear whether it lives. */
  doubt(): void;
  /** Resolves once the function accepts connections; rejects with the signal's reason. */
  whenReady(signal: AbortSignal): Promise<void>;
  /**
   * Resolves once the function has listened for the first time; throws `function.unavailable` when it ends or hangs
   * before.
   */
  readonly started: Promise<void>;
  /** SIGTERM, which drains; when `force` aborts, SIGKILL to its whole process group. Resolves when it is gone. */
  stop(force: AbortSignal): Promise<void>;
}

export interface FunctionProcessOptions {
  readonly name: string;
  /** Path of the template's index.ts. */
  readonly entryPoint: string;
  /** Path of the handler module. */
  readonly handler: string;
  readonly workingDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly runtimeDirectory: string;
  /** Gets each line that the function writes to standard error. Without it, they go to this process's own. */
  readonly onLine?: ((line: string) => void) | undefined;
  readonly log: Log;
}

const restarts = { delayMs: 250, maximumDelayMs: 30_000 } as const satisfies Backoff;
/** Lifetime after which the earlier ends of a function no longer count. */
const healthyAfterMs = 60_000;
const startTimeoutMs = 60_000;
const pollMs = 25;
/** Longest time between the end of a process's connections and the news of its own end. */
const doubtMs = 250;

/** Starts a function and keeps it running. */
export function startFunctionProcess(options: FunctionProcessOptions): FunctionProcess {
  const { name, log } = options;
  const socketPath = join(options.runtimeDirectory, `${name}.sock`);
  const stopping = new AbortController();
  const waiting = new Set<() => void>();
  const started = Promise.withResolvers<void>();
  started.promise.catch(() => {}); // A caller that awaits it gets the failure; without one, it must not end the process.
  let child: ReturnType<typeof spawn> | undefined;
  let ready = false;

  const becomeReady = () => {
    ready = true;
    for (const wake of waiting) wake();
  };

  const run = async (): Promise<void> => {
    let ends = 0;
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      await mkdir(options.runtimeDirectory, { recursive: true, mode: 0o700 });
      await rm(socketPath, { force: true });
      // The function has been stopped meanwhile: do not start another process.
      if (stopping.signal.aborted) break;
      child = spawn(options, socketPath);
      const exited = new AbortController();
      const ended = child.finally(() => exited.abort());
      if (await listens(socketPath, exited.signal)) {
        log.info('function ready', { pid: child.pid });
        started.resolve();
        becomeReady();
      } else if (!exited.signal.aborted) {
        log.error('function does not listen', { pid: child.pid, seconds: startTimeoutMs / 1000 });
        killGroup(child.pid, 'SIGKILL');
      }
      const result = await ended;
      ready = false;
      child = undefined;
      if (stopping.signal.aborted) break;
      const how = result.signal ?? result.exitCode ?? result.originalMessage;
      started.reject(
        new ImageBuilderError('function.unavailable', `function ${name} did not start (${how}); its log says why`),
      );
      ends = performance.now() - startedAt > healthyAfterMs ? 1 : ends + 1;
      const waitMs = backoffMs(ends, restarts, [1, 1]);
      log.error('function ended', { how, restart_in_seconds: waitMs / 1000 });
      await pause(waitMs, stopping.signal);
    }
    started.reject(new ImageBuilderError('worker.stopping', 'the gateway was told to stop'));
  };
  const finished = run();

  return {
    name,
    socketPath,
    get pid() {
      return child?.pid;
    },
    get ready() {
      return ready;
    },
    started: started.promise,
    doubt() {
      if (!ready) return;
      ready = false;
      const doubted = child;
      setTimeout(() => {
        if (child === doubted && child !== undefined) becomeReady();
      }, doubtMs).unref();
    },
    async whenReady(signal) {
      while (!ready) {
        const { promise, resolve: wake } = Promise.withResolvers<void>();
        waiting.add(wake);
        await orAborted(promise, signal).finally(() => waiting.delete(wake));
      }
    },
    async stop(force) {
      stopping.abort();
      if (child?.pid !== undefined) child.kill('SIGTERM');
      const kill = () => {
        if (child !== undefined) log.warn('function killed', { pid: child.pid });
        killGroup(child?.pid, 'SIGKILL');
      };
      using _listener = onAbort(force, kill);
      await finished;
    },
  };
}

/**
 * The child is in a session of its own, so that Ctrl-C in a terminal reaches only the gateway, which then drains. When
 * the gateway is killed, the kernel sends the child SIGTERM (setpriv execs it, so the process id is its own). With
 * `--inspect=0` on the gateway, a debugger can reach each function too.
 */
function spawn(options: FunctionProcessOptions, socketPath: string) {
  const inspect = process.execArgv.filter((option) => option.startsWith('--inspect'));
  const command = [process.execPath, ...inspect, options.entryPoint, options.handler];
  const child = execa('setpriv', ['--pdeathsig', 'TERM', '--', ...command], {
    cwd: options.workingDirectory,
    env: { ...options.environment, LISTEN_SOCKET: socketPath },
    extendEnv: false,
    stdin: 'ignore',
    stdout: 'inherit',
    stderr: options.onLine === undefined ? 'inherit' : 'pipe',
    buffer: false,
    reject: false,
    detached: true,
    cleanup: false,
    forceKillAfterDelay: false,
  });
  if (options.onLine !== undefined) collectLines(child.stderr, options.onLine);
  return child;
}

/** True once a connection is accepted, false when the child has ended or the time is up. */
async function listens(socketPath: string, exited: AbortSignal): Promise<boolean> {
  const over = async () => exited.aborted || (await accepts(socketPath));
  return (await waitFor(over, startTimeoutMs, pollMs)) && !exited.aborted;
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already.
  }
}
