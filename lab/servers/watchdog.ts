import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePorts } from './ports.ts';

/** A function behind the stand-in for of-watchdog, which gets the signals and the calls, as in a pod. */
export interface WatchedFunction extends AsyncDisposable {
  /** The watchdog. */
  readonly child: ChildProcess;
  readonly address: { readonly host: string; readonly port: number };
  /** Lines of the function's and the watchdog's log so far. */
  readonly lines: readonly string[];
  /** Resolves with the watchdog's exit code. */
  readonly exited: Promise<number | null>;
}

export interface WatchedOptions {
  /** Path of the handler module. */
  readonly handler: string;
  readonly env?: Readonly<Record<string, string>>;
}

const repository = join(import.meta.dirname, '..', '..');

/**
 * Starts the watchdog with what the template's Dockerfile sets, but for `healthcheck_interval`, which is 3s by default.
 * Resolves at once: `/_/health` says when the function is up.
 */
export async function startWatched({ handler, env = {} }: WatchedOptions): Promise<WatchedFunction> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-watched-'));
  const [port = 0, functionPort = 0] = await freePorts(2);
  const child = spawn(process.execPath, [join(repository, 'lab/servers/watchdog-stand-in.ts')], {
    env: {
      PATH: process.env.PATH ?? '',
      TMPDIR: directory,
      port: String(port),
      PORT: String(functionPort),
      upstream_url: `http://127.0.0.1:${functionPort}`,
      fprocess: `${process.execPath} ${join(repository, 'template/node24-ts/index.ts')} ${handler}`,
      suppress_lock: 'true',
      healthcheck_interval: '3s',
      ...env,
    },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    address: { host: '127.0.0.1', port },
    lines,
    exited,
    async [Symbol.asyncDispose]() {
      // The function would outlive a watchdog that is killed.
      child.kill('SIGTERM');
      await exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
