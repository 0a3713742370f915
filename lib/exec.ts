import type { Readable, Writable } from 'node:stream';
import { type Options as ExecaOptions, execa } from 'execa';
import { onAbort } from './async.ts';
import { ImageBuilderError } from './errors.ts';
import { privilegeArguments, type UnprivilegedUser } from './privileges.ts';

/**
 * The one way to start child processes: no shell, a clean environment, an own process group that is killed whole when
 * the signal aborts or the time is up, output bounded, and one error type.
 */

export interface ExecOptions {
  readonly cwd?: string;
  /** Added to the clean environment (PATH, LC_ALL=C.UTF-8, HOME=/nonexistent, LANG). */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input of the child; empty by default. A stream that fails looks as if it had ended. */
  readonly input?: string | Uint8Array | Readable;
  /** Kills the whole process group when aborted; `exec` then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Kills the whole process group after this time; default none. */
  readonly timeoutMs?: number;
  /** Called with every line of standard output and standard error, without its newline. */
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Called with every line that the child writes to file descriptor 3. */
  readonly onStatusLine?: (line: string) => void;
  /** Gets all that the child writes to file descriptor 4; only beside `onStatusLine`. */
  readonly result?: Writable;
  /** Open files that the child gets too, the first as descriptor 3, and so on; not beside `onStatusLine`. */
  readonly inherited?: readonly number[];
  /**
   * User of the child, without capabilities and without a way to gain any: null for this process's own user. Absent:
   * the child keeps all rights of this process.
   */
  readonly user?: UnprivilegedUser | null;
  /**
   * True where the child ends with something else that ends with this process: it is then started without a program in
   * front of it that would see to that. Not beside `user`. Default: false.
   */
  readonly endsByItself?: boolean;
  /** Exit codes that are results rather than failures. Default: only 0. */
  readonly okExitCodes?: readonly number[];
}

export interface ExecResult {
  readonly exitCode: number;
  /** Standard output, at most the last 1 MiB of characters. */
  readonly stdout: string;
  /** Standard error, at most the last 1 MiB of characters. */
  readonly stderr: string;
}

const maximumOutputCharacters = 1024 * 1024;
const killGraceMs = 2_000;
/** Time that the output of a killed process may still take to arrive. */
const hearingMs = 500;

/** A command that could not be started, failed, was killed, or ran out of time. */
export class ExecError extends ImageBuilderError {
  readonly command: string;
  readonly exitCode: number | undefined;
  readonly signalName: string | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;

  constructor(details: {
    command: string;
    exitCode: number | undefined;
    signalName: string | undefined;
    timedOut: boolean;
    notFound: boolean;
    stdout: string;
    stderr: string;
    cause: unknown;
  }) {
    const how = details.notFound
      ? 'is not installed'
      : details.timedOut
        ? 'ran out of time'
        : details.signalName !== undefined
          ? `was killed by ${details.signalName}`
          : `failed with exit code ${details.exitCode ?? 'unknown'}`;
    const tail = lastLines(details.stderr.trim() === '' ? details.stdout : details.stderr, 20);
    const last = tail.at(-1);
    super('tool.failed', `${details.command} ${how}${last === undefined ? '' : `: ${last}`}`, {
      cause: details.cause,
      logTail: tail,
    });
    this.command = details.command;
    this.exitCode = details.exitCode;
    this.signalName = details.signalName;
    this.timedOut = details.timedOut;
    this.stdout = details.stdout;
    this.stderr = details.stderr;
  }
}

/** The environment every child starts with; nothing of the service's own environment is inherited. */
export const cleanEnvironment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/nonexistent',
  LANG: 'C.UTF-8',
  LC_ALL: 'C.UTF-8',
} as const;

/**
 * Runs `file` with `args` and resolves with its output. Secrets must not be in `args`: pass them by `input`, `env` or
 * a file. Throws ExecError on failure, or the reason of `signal` when it was aborted.
 */
export async function exec(file: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const { signal, timeoutMs, okExitCodes = [0] } = options;
  signal?.throwIfAborted();
  // A process group of its own does not die with this process, so the child gets a parent-death signal. setpriv execs
  // the command, so the process id is the command's, and it asks for the signal after it has changed the user, by which
  // the kernel forgets it.
  const privileges = options.user === undefined ? [] : privilegeArguments(options.user);
  const [program, ...words] =
    options.endsByItself === true
      ? ([file, ...args] as const)
      : (['setpriv', '--pdeathsig', 'KILL', ...privileges, '--', file, ...args] as const);
  const child = execa(program, words, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...cleanEnvironment, ...options.env },
    extendEnv: false,
    ...(options.input === undefined ? {} : { input: options.input }),
    stdio: [
      options.input === undefined ? 'ignore' : 'pipe',
      'pipe',
      'pipe',
      ...(options.onStatusLine === undefined ? [] : ['pipe' as const]),
      ...(options.result === undefined ? [] : ['pipe' as const]),
      // execa takes descriptors, too, although its types do not have them in these places.
      ...((options.inherited ?? []) as unknown as 'pipe'[]),
    ],
    buffer: false,
    reject: false,
    detached: true,
    cleanup: true,
  } satisfies ExecaOptions);
  const stdout = collectLines(child.stdout, (line) => options.onLine?.(line, 'stdout'));
  const stderr = collectLines(child.stderr, (line) => options.onLine?.(line, 'stderr'));
  if (options.onStatusLine !== undefined)
    collectLines(child.stdio[3] as NodeJS.ReadableStream | undefined, options.onStatusLine);
  if (options.result !== undefined) pour(child.stdio[4] as NodeJS.ReadableStream, options.result);

  let timedOut = false;
  let giveUp: NodeJS.Timeout | undefined;
  const stop = () => {
    killGroup(child.pid);
    // A process that has left the group (a daemon) is not reached, and would keep this waiting for the end of its
    // output.
    giveUp ??= setTimeout(() => {
      for (const stream of child.stdio) stream?.destroy();
    }, killGraceMs + hearingMs);
  };
  using _listener = onAbort(signal, stop);
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          stop();
        }, timeoutMs);
  try {
    const result = await child;
    signal?.throwIfAborted();
    if (!timedOut && result.exitCode !== undefined && okExitCodes.includes(result.exitCode)) {
      return { exitCode: result.exitCode, stdout: stdout(), stderr: stderr() };
    }
    throw new ExecError({
      command: file,
      exitCode: result.exitCode,
      signalName: result.signal,
      timedOut,
      notFound:
        result.code === 'ENOENT' || (result.exitCode === 127 && stderr().startsWith('setpriv: failed to execute')),
      stdout: stdout(),
      stderr: stderr(),
      cause: result.cause,
    });
  } finally {
    clearTimeout(timer);
    clearTimeout(giveUp);
  }
}

/** Sends SIGTERM to the process group of `pid`, and SIGKILL shortly after to the rest of it. */
function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  const send = (name: NodeJS.Signals) => {
    try {
      process.kill(-pid, name);
    } catch {
      // The group is gone already.
    }
  };
  send('SIGTERM');
  setTimeout(() => send('SIGKILL'), killGraceMs).unref();
}

/** The last `count` lines of `text` that are not blank. */
export function lastLines(text: string, count: number): string[] {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-count);
}

/** Lets a stream flow into another one. When the other has closed early, the rest is read and dropped. */
export function pour(source: NodeJS.ReadableStream, sink: Writable): void {
  source.pipe(sink);
  sink.once('close', () => source.resume());
}

/**
 * Reads a stream as UTF-8 and calls `onLine` with every line, without its newline; a line beyond 1 MiB of characters
 * comes in pieces. The function that it returns gives the text so far, at most its last 1 MiB of characters.
 */
export function collectLines(
  stream: NodeJS.ReadableStream | null | undefined,
  onLine: (line: string) => void,
): () => string {
  let text = '';
  let partial = '';
  /** A carriage return at the end of a chunk: only the next chunk shows whether a newline follows. */
  let held = '';
  stream?.setEncoding('utf8');
  stream?.on('data', (chunk: string) => {
    text += chunk;
    // Not at every chunk: each cut copies the whole text.
    if (text.length > 2 * maximumOutputCharacters) text = text.slice(-maximumOutputCharacters);
    // A carriage return alone ends a line too: progress meters redraw theirs in that way.
    const [first = '', ...more] = (held + chunk).split(/\r?\n|\r(?=[^\n])/);
    held = chunk.endsWith('\r') ? '\r' : '';
    // Only the new text is searched: a line may come in a million chunks.
    const lines = [partial + first, ...more];
    partial = lines.pop() ?? '';
    if (held !== '') partial = partial.slice(0, -1);
    if (partial.length > maximumOutputCharacters) {
      lines.push(partial);
      partial = '';
    }
    for (const line of lines) onLine(line);
  });
  stream?.on('end', () => {
    if (partial + held !== '') onLine(partial + held);
  });
  return () => text.slice(-maximumOutputCharacters);
}
