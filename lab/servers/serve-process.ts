import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { ImageBuilderError } from '#lib/errors.ts';

/** `imagebuilder serve` as a child process. */
export interface ServeProcess extends AsyncDisposable {
  readonly url: string;
}

export interface ServeProcessOptions {
  readonly root: string;
  /** IMAGEBUILDER_… settings. */
  readonly settings: Readonly<Record<string, string>>;
  /** File for its log. */
  readonly logFile: string;
  readonly signal: AbortSignal;
  /** The only port that it may take. */
  readonly port?: number;
}

const stopGraceMs = 40_000;

/** Starts it, on port 8000 when that is free and no other is asked for, and resolves when it takes requests. */
export async function startServeProcess(options: ServeProcessOptions): Promise<ServeProcess> {
  if (options.port !== undefined) return await start(options, options.port);
  try {
    return await start(options, 8000);
  } catch {
    options.signal.throwIfAborted();
    return await start(options, 0);
  }
}

async function start(options: ServeProcessOptions, port: number): Promise<ServeProcess> {
  const { root, settings, logFile, signal } = options;
  const log = createWriteStream(logFile, { flags: 'a' });
  // An own process group: Ctrl-C in the terminal must not stop it before its users. pdeathsig: it must not outlive
  // them.
  const child = execa(
    'setpriv',
    ['--pdeathsig', 'TERM', join(root, 'bin', 'imagebuilder'), 'serve', '--listen', `127.0.0.1:${port}`],
    {
      env: settings,
      stdin: 'ignore',
      buffer: false,
      reject: false,
      detached: true,
      cleanup: false,
      forceKillAfterDelay: stopGraceMs,
    },
  );
  const listening = Promise.withResolvers<string>();
  let told = '';
  for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
  child.stdout.on('data', (chunk: Buffer) => {
    told = (told + chunk.toString()).slice(-10_000);
    const url = /listens on (http:\/\/\S+)/.exec(told)?.[1];
    if (url !== undefined) listening.resolve(url);
  });
  void child.finally(() => {
    listening.reject(
      new ImageBuilderError('internal', `\`imagebuilder serve\` ended before it listened; ${logFile} says why`),
    );
  });
  const onAbort = () => listening.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const dispose = async () => {
    child.kill('SIGTERM');
    await child;
    log.end();
  };
  try {
    return { url: await listening.promise, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
