import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import got from 'got';
import { cleanEnvironment, lastLines } from '#lib/exec.ts';

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
  let child: Child | null = null;
  let output = '';

  const start = async () => {
    if (child !== null) throw new Error(`${name} runs already`);
    output = '';
    const started = spawn(options);
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

type Child = ReturnType<typeof spawn>;

/** A process group of its own that gets SIGTERM when this process dies, in whatever way. */
function spawn({ command, env }: ServerOptions) {
  return execa('setpriv', ['--pdeathsig', 'TERM', '--', ...command], {
    env: { ...cleanEnvironment, ...env },
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    buffer: false,
    reject: false,
    detached: true,
    cleanup: true,
  });
}

function signalGroup(child: Child, name: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, name);
  } catch {
    // It has ended already.
  }
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

/**
 * `count` free ports below 32768: above, a client's own port may be equal to a listener's, whose restart then fails.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const candidate = 10_000 + Math.floor(Math.random() * 22_000);
    if (!ports.includes(candidate) && (await isFree(candidate))) ports.push(candidate);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** An INI file in the dialect that OpenStack's servers read. */
export function ini(sections: Readonly<Record<string, Readonly<Record<string, string | number | boolean>>>>): string {
  return Object.entries(sections)
    .map(([name, values]) =>
      [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key} = ${value}`), ''].join('\n'),
    )
    .join('\n');
}
