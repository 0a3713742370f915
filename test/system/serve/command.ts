import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { stringify } from 'yaml';

/** Runs the real command. */

const command = join(import.meta.dirname, '../../../bin/imagebuilder');

export interface FixtureFunction {
  readonly handler: 'echo' | 'slow' | 'broken';
  readonly environment?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A folder with a stack.yml that serves the fixtures of `functions/`, gone when disposed. */
export async function writeStack(functions: Readonly<Record<string, FixtureFunction>>) {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-stack-'));
  const file = join(directory, 'stack.yml');
  const entries = Object.entries(functions).map(([name, { handler, ...rest }]) => {
    const folder = join(import.meta.dirname, 'functions', handler);
    return [name, { lang: 'node24-ts', handler: folder, image: name, ...rest }];
  });
  await writeFile(
    file,
    stringify({ version: 1.0, provider: { name: 'openfaas' }, functions: Object.fromEntries(entries) }),
  );
  return { file, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
}

/** `imagebuilder` with arguments; resolves when it has ended, whatever its exit code. */
export async function imagebuilder(
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string } = {},
) {
  const result = await execa(command, [...args], { reject: false, timeout: 60_000, env: {}, input: '', ...options });
  return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}

/** `imagebuilder` that goes on in the background. */
export function startImagebuilder(args: readonly string[], env: Record<string, string> = {}) {
  // It may take longer to stop than the five seconds after which execa would kill it.
  return execa(command, [...args], { reject: false, env, forceKillAfterDelay: false });
}

/** Serves a stack on a free port until disposed, by SIGKILL where it is still there. */
export async function serveStack(
  functions: Readonly<Record<string, FixtureFunction>>,
  options: { env?: Record<string, string>; args?: readonly string[] } = {},
) {
  const stack = await writeStack(functions);
  const child = startImagebuilder(
    ['serve', '--stack', stack.file, '--listen', '127.0.0.1:0', ...(options.args ?? [])],
    { IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true', ...options.env },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk;
  });
  const ended = child.then((result) => result);
  const url = await eventually(
    'serve is ready',
    async () => /listens on (\S+)/.exec(output)?.[1],
    () => log,
  );
  return {
    url,
    pid: child.pid ?? 0,
    ended,
    log: () => log,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    /** Process ids of the functions that are ready, by name. */
    functionPids: () => {
      const pids: Record<string, number> = {};
      for (const line of log.split('\n').filter((text) => text.includes('"function ready"'))) {
        const entry = JSON.parse(line) as { function: string; pid: number };
        pids[entry.function] = entry.pid;
      }
      return pids;
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      const killer = setTimeout(() => child.kill('SIGKILL'), 20_000);
      await ended;
      clearTimeout(killer);
      await stack[Symbol.asyncDispose]();
    },
  };
}

/** Repeats `probe` until it returns a value; after half a minute it fails, with a description of the wait. */
export async function eventually<Value>(
  what: string,
  probe: () => Promise<Value | undefined | false>,
  detail: () => string = () => '',
): Promise<Value> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`in vain: ${what} ${detail()}`);
    await sleep(20);
  }
}

/** Whether a process is there (a zombie is not). */
export async function isAlive(pid: number): Promise<boolean> {
  const { stdout } = await execa('ps', ['-o', 'stat=', '-p', String(pid)], { reject: false });
  return stdout.trim() !== '' && !stdout.trim().startsWith('Z');
}
