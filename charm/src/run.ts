import { spawnSync } from 'node:child_process';

/** Programs of the machine and Juju's hook tools. */

/** Most bytes of an answer, such as all results of a long build. */
const maximumOutputBytes = 64 * 1024 * 1024;

/** A program that could not be started or has ended with another code than 0. */
export class CommandError extends Error {
  /** Null where a signal ended it, or where it did not start. */
  readonly exitCode: number | null;
  readonly stdout: string;

  constructor(message: string, exitCode: number | null, stdout: string) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exitCode;
    this.stdout = stdout;
  }
}

export interface RunOptions {
  /** Standard input. Secrets go there, and never into arguments. */
  readonly input?: string;
  /** The whole environment, in place of this process's. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Runs a program and gives back its standard output. Throws a CommandError with the end of its standard error. */
export function run(program: string, words: readonly string[], options: RunOptions = {}): string {
  const { input = '', environment = process.env, timeoutMs } = options;
  const { status, signal, error, stdout, stderr } = spawnSync(program, words, {
    encoding: 'utf8',
    input,
    env: environment,
    maxBuffer: maximumOutputBytes,
    ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
  });
  if (status === 0) return stdout;
  const reason = error?.message ?? stderr.trim().split('\n').slice(-5).join('\n');
  const end = status === null ? (signal ?? 'did not start') : `exit code ${status}`;
  throw new CommandError(`${program} ${words[0] ?? ''}: ${reason || end}`, status, stdout ?? '');
}

/** Whether a program ends with 0. */
export function succeeds(program: string, words: readonly string[]): boolean {
  try {
    run(program, words);
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.exitCode !== null) return false;
    throw error;
  }
}
