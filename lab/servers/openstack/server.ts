import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import got from 'got';
import { cleanEnvironment, lastLines } from '#lib/exec.ts';
import { isFree } from '../ports.ts';
import { type ProcessGroup, signalGroup, spawnGroup } from '../process-group.ts';

/** One server of a private OpenStack: a child of this process that ends with it, started and stopped at will. */
export interface Server extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  /** Process id while it runs, else null. */
  readonly pid: number | null;
  /** The last lines of its output, oldest first. */
  log(): string;
  start(): Promise<void>;
  /** Stops it; with `kill` at once, by SIGKILL. */
  stop(options?: { readonly kill?: boolean }): Promise<void>;
  /** Freezes it: connections stay open, nothing moves. */
  pause(): void;
  resume(): void;
}

export interface ServerOptions {
  readonly name: string;
  readonly port: number;
  readonly command: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /**
   * URL that is answered with any status below 500 once the server works; null: a port that takes connections is
   * enough.
   */
  readonly readyUrl: string | null;
  /** File with the CA of `readyUrl`. */
  readonly certificateAuthority?: string | undefined;
}

const startTimeoutMs = 120_000;
const stopTimeoutMs = 10_000;

/** Describes a server and starts it. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { name, port } = options;
  let child: ProcessGroup | null = null;
  let output = '';

  const start = async () => {
    if (child !== null) throw new Error(`${name} runs already`);
    output = '';
    const started = spawnGroup(options.command, { ...cleanEnvironment, ...options.env });
    child = started;
    started.all?.setEncoding('utf8');
    started.all?.on('data', (text: string) => {
      output = (output + text).slice(-200_000);
    });
    let ended = false;
    void started.finally(() => {
      ended = true;
    });
    const until = Date.now() + startTimeoutMs;
    while (!ended && Date.now() < until) {
      if (await isReady(options)) return;
      await sleep(50);
    }
    await stop({ kill: true });
    throw new Error(`${name} did not start on port ${port}:\n${lastLines(output, 30).join('\n')}`);
  };

  const stop = async ({ kill = false } = {}) => {
    if (child === null) return;
    const stopping = child;
    child = null;
    // A paused server takes no SIGTERM.
    signalGroup(stopping, 'SIGCONT');
    signalGroup(stopping, kill ? 'SIGKILL' : 'SIGTERM');
    const timer = setTimeout(() => signalGroup(stopping, 'SIGKILL'), stopTimeoutMs);
    await stopping;
    clearTimeout(timer);
    signalGroup(stopping, 'SIGKILL');
  };

  await start();
  return {
    name,
    port,
    get pid() {
      return child?.pid ?? null;
    },
    log: () => output,
    start,
    stop,
    pause: () => child !== null && signalGroup(child, 'SIGSTOP'),
    resume: () => child !== null && signalGroup(child, 'SIGCONT'),
    [Symbol.asyncDispose]: () => stop(),
  };
}

/** Asks by HTTP, since uwsgi takes connections before its program is loaded. */
async function isReady({ port, readyUrl, certificateAuthority }: ServerOptions): Promise<boolean> {
  if (readyUrl === null) return !(await isFree(port));
  try {
    const { statusCode } = await got(readyUrl, {
      throwHttpErrors: false,
      followRedirect: false,
      retry: { limit: 0 },
      timeout: { request: 10_000 },
      ...(certificateAuthority === undefined
        ? {}
        : { https: { certificateAuthority: await readFile(certificateAuthority, 'utf8') } }),
    });
    return statusCode < 500;
  } catch {
    return false;
  }
}

/** An INI file in the dialect that OpenStack's servers read. */
export function ini(sections: Readonly<Record<string, Readonly<Record<string, string | number | boolean>>>>): string {
  return Object.entries(sections)
    .map(([name, values]) =>
      [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key} = ${value}`), ''].join('\n'),
    )
    .join('\n');
}
