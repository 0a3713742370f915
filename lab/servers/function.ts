import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http';
import { createInterface } from 'node:readline';

/** Serves a handler with the template, as a child process, the way the watchdog and `imagebuilder serve` do. */

const repository = `${import.meta.dirname}/../..`;
/** Each process compiles all its modules anew without. */
const compileCache = { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE };

export interface FunctionProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Address on which it listens, as options of http.request. */
  readonly address: { readonly host: string; readonly port: number } | { readonly socketPath: string };
  /** Its standard error so far, line by line. */
  readonly lines: readonly string[];
  /** The first line of standard error with `text` in it, as soon as it is there. */
  line(text: string): Promise<string>;
  /** Resolves with its exit code once it has ended; null when a signal killed it. */
  readonly exited: Promise<number | null>;
}

export interface FunctionOptions {
  /** The template's entry; default the one in the repository. */
  readonly index?: string;
  /** The handler; default none, so that the entry takes its own default. */
  readonly handler?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts the function and waits until it listens. Throws with its log when it ends before that. */
export async function startFunction(options: FunctionOptions = {}): Promise<FunctionProcess> {
  const { child, lines, exited } = spawnFunction(options);
  const written = new EventEmitter();
  createInterface({ input: child.stderr }).on('line', (line) => {
    lines.push(line);
    written.emit('line');
  });
  const line = async (text: string): Promise<string> => {
    while (true) {
      const found = lines.find((one) => one.includes(text));
      if (found !== undefined) return found;
      const event = await Promise.race([once(written, 'line'), exited]);
      if (!Array.isArray(event) && !lines.some((one) => one.includes(text))) {
        throw new Error(`the function ended with ${event} and never wrote "${text}":\n${lines.join('\n')}`);
      }
    }
  };
  const found: unknown = JSON.parse(await line('"message":"listening"')).address;
  const address =
    typeof found === 'string' ? { socketPath: found } : { host: '127.0.0.1', port: (found as { port: number }).port };
  return {
    child,
    lines,
    line,
    exited,
    address,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Runs the function until it ends by itself, for functions that cannot start. */
export async function runFunction(options: FunctionOptions): Promise<{ exitCode: number | null; lines: string[] }> {
  const { child, lines, exited } = spawnFunction(options);
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  return { exitCode: await exited, lines };
}

function spawnFunction(options: FunctionOptions) {
  const index = options.index ?? `${repository}/template/node24-ts/index.ts`;
  const child = spawn(process.execPath, [index, ...(options.handler === undefined ? [] : [options.handler])], {
    cwd: options.cwd ?? repository,
    env: { PATH: process.env.PATH ?? '', PORT: '0', ...compileCache, ...options.env },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const lines: string[] = [];
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return { child, lines, exited };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface CallOptions extends RequestOptions {
  readonly body?: string | Uint8Array;
}

/** Calls the function and reads its whole answer. Throws where the connection is cut before its end. */
export async function call(to: FunctionProcess['address'], path: string, options: CallOptions = {}): Promise<Answer> {
  const { body, ...rest } = options;
  const outgoing = request({ ...to, path, agent: false, ...rest });
  outgoing.on('error', () => {}); // More than one may come; `once` below throws the first.
  outgoing.end(body);
  const [incoming] = await once(outgoing, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return { status: incoming.statusCode, headers: incoming.headers, body: Buffer.concat(chunks) };
}
