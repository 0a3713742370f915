import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { type ExecOptions, type ExecResult, exec, lastLines } from '#lib/exec.ts';

/**
 * A private Docker engine from Debian's package docker.io, started by hand: its own data, containerd, configuration and
 * socket in a temporary folder, no bridge and no packet filter rules, so that it disturbs nothing else on the machine.
 * Containers run with `--network none` or `--network host`. It ends with the process that started it.
 */
export interface Docker extends AsyncDisposable {
  /** Runs the docker client against this engine. */
  run(args: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** Process id, outside, of a running container's first process. */
  pid(container: string): Promise<number>;
}

const startTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;
/** vfs copies whole layers, but works where the folder's own file system is an overlay. */
const storageDrivers = ['overlay2', 'vfs'] as const;

/** Starts an engine. Throws an Error that says why where that is impossible. */
export async function startDocker(): Promise<Docker> {
  if (process.getuid?.() !== 0) throw new Error('dockerd needs root');
  const installed = await access('/usr/sbin/dockerd')
    .catch(() => access('/usr/bin/dockerd'))
    .then(
      () => true,
      () => false,
    );
  if (!installed) throw new Error('dockerd is not installed (Debian package docker.io)');
  const failures: string[] = [];
  for (const storageDriver of storageDrivers) {
    const engine = await startWith(storageDriver);
    if (typeof engine !== 'string') return engine;
    failures.push(`${storageDriver}: ${engine}`);
  }
  throw new Error(`dockerd does not start: ${failures.join('; ')}`);
}

/** The engine, or its last words where it ended before it was ready. */
async function startWith(storageDriver: string): Promise<Docker | string> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-docker-'));
  const host = `unix://${join(directory, 'docker.sock')}`;
  // A file of its own, because settings in the machine's /etc/docker/daemon.json would contradict the flags.
  await writeFile(join(directory, 'daemon.json'), '{}');
  const engine = execa(
    'setpriv',
    [
      ...['--pdeathsig', 'TERM', 'dockerd'],
      ...['--config-file', join(directory, 'daemon.json'), '--host', host],
      ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
      ...['--pidfile', join(directory, 'pid'), '--storage-driver', storageDriver],
      ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
    ],
    {
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
      extendEnv: false,
      stdin: 'ignore',
      all: true,
      reject: false,
      // A Ctrl-C at the terminal does not reach it: it is stopped in order, containers first.
      detached: true,
    },
  );
  const ended = engine.then(({ all }) => lastLines(all, 3).join(' / '));
  const run = (args: readonly string[], options: ExecOptions = {}) =>
    exec('docker', args, {
      ...options,
      // The builder that every docker client has; BuildKit needs a plugin that Debian packages separately.
      env: { DOCKER_HOST: host, DOCKER_CONFIG: directory, DOCKER_BUILDKIT: '0', ...options.env },
    });
  const docker: Docker = {
    run,
    pid: async (container) => Number((await run(['inspect', '--format', '{{.State.Pid}}', container])).stdout),
    [Symbol.asyncDispose]: async () => {
      const containers = await run(['ps', '--all', '--quiet']).then(
        ({ stdout }) => lastLines(stdout, Number.POSITIVE_INFINITY),
        () => [],
      );
      if (containers.length > 0) await run(['rm', '--force', ...containers]).catch(() => {});
      engine.kill('SIGTERM');
      if ((await Promise.race([ended, sleep(stopTimeoutMs, null, { ref: false })])) === null) engine.kill('SIGKILL');
      await ended;
      for (const mount of await mountsBelow(directory)) await exec('umount', ['--lazy', mount]);
      await rm(directory, { recursive: true, force: true });
    },
  };
  const deadline = performance.now() + startTimeoutMs;
  while (performance.now() < deadline) {
    const ready = run(['version']).then(
      () => true,
      () => sleep(200, false),
    );
    const outcome = await Promise.race([ready, ended]);
    if (outcome === true) return docker;
    if (typeof outcome === 'string') {
      await docker[Symbol.asyncDispose]();
      return outcome;
    }
  }
  await docker[Symbol.asyncDispose]();
  return `not ready after ${startTimeoutMs / 1000} seconds`;
}

/** Mount points below `directory`, the innermost first. */
async function mountsBelow(directory: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const points = lines.map((line) => line.split(' ')[4] ?? '');
  return points.filter((point) => point.startsWith(`${directory}/`)).reverse();
}
