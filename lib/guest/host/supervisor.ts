import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { waitFor } from '../../async.ts';
import {
  type FromSupervisor,
  type FromWorker,
  proxyPort,
  type StorageDisk,
  type SupervisorSettings,
} from './messages.ts';
import { removeGroup } from './remove-group.ts';
import { abortScript, fuseConnection, lastWillScript, storageArguments } from './storage.ts';

/**
 * The process that owns one host guest and outlives the worker's death. On `begin`, it starts the storage daemon and
 * the namespaces, and takes them down in the one order that is safe: namespaces, loop devices, daemon. It does so on
 * `stop`, when the worker dies (its IPC channel closes), and when the daemon dies.
 *
 * When it is killed itself, the kernel kills the namespaces with it (parent-death signals), and the daemon's last will
 * ends the daemon. It uses child_process directly and imports almost nothing: it has to start fast and to survive.
 */

const startLimitMs = 30_000;
/** Time limit of each step of the teardown, before the FUSE connection is aborted. */
const stopLimitMs = 5_000;

const settings = JSON.parse(process.argv[2] ?? '') as SupervisorSettings;
/**
 * Prints the process id of the namespaces' first process on the worker's side, then only sleeps. With SIGCHLD ignored,
 * the kernel reaps the orphans that it inherits. Where /sys/fs/cgroup is not of version 2, crun would refuse to start,
 * so a hierarchy of version 2, or an empty one, is mounted there.
 */
const initScript = `
read -r id rest </proc/self/stat
mount -t proc -o nosuid,nodev,noexec proc /proc
if [ ! -e /sys/fs/cgroup/cgroup.procs ]; then
  mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup 2>/dev/null || mount -t tmpfs -o ro,size=0 none /sys/fs/cgroup
fi
echo "$id"
exec env --ignore-signal=CHLD sleep infinity >/dev/null 2>&1
`;

let storage: ChildProcess | undefined;
let lastWill: ChildProcess | undefined;
let namespaces: ChildProcess | undefined;
let initId: number | undefined;
let connection: string | null = null;
let stopping: Promise<void> | undefined;

process.on('message', (message: FromWorker) => {
  if (message.type === 'loop') lastWill?.stdin?.write(`${message.name}\n`);
  else if (message.type === 'begin') void start(message.disk).catch((error: Error) => fail(error.message));
  else void stop();
});
process.on('disconnect', () => void stop());
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => void stop());

/** Sends the worker a socket that listens in this process's network namespace, which is the guest's. */
async function handOver(): Promise<void> {
  const server = createServer();
  server.listen(proxyPort, '127.0.0.1');
  await once(server, 'listening');
  await new Promise<void>((resolve) => {
    if (process.connected) process.send?.({ type: 'listening' } satisfies FromSupervisor, server, () => resolve());
    else resolve();
  });
  server.close();
}
const handedOver = handOver();
handedOver.catch(() => {});

async function start(disk: StorageDisk): Promise<void> {
  if (stopping !== undefined) return;
  storage = begin('unshare', storageArguments(disk, settings.exportPath), ['ignore', 'ignore', 'inherit']);
  const storageId = storage.pid ?? 0;
  const exported = await waitFor(async () => {
    connection = await fuseConnection(storageId, settings.exportPath);
    return connection !== null || hasEnded(storage) || stopping !== undefined;
  }, startLimitMs);
  if (stopping !== undefined) return;
  if (!exported || hasEnded(storage)) throw new Error('the storage daemon does not start');
  storage.once('exit', () => void fail('the storage daemon has ended'));
  lastWill = begin(
    'sh',
    ['-c', lastWillScript, 'last-will', String(storageId), settings.exportPath],
    ['pipe', 'ignore', 'inherit'],
  );
  lastWill.stdin?.on('error', () => {});
  namespaces = begin(
    'nsenter',
    [
      '--mount',
      '--target',
      String(storageId),
      '--',
      'setpriv',
      '--pdeathsig',
      'KILL',
      '--',
      'unshare',
      '--mount',
      '--propagation',
      'slave',
      '--pid',
      '--ipc',
      '--uts',
      '--fork',
      '--kill-child',
      '--',
      'sh',
      '-c',
      initScript,
    ],
    ['ignore', 'pipe', 'inherit'],
  );
  namespaces.stdout?.setEncoding('utf8').on('data', (text: string) => {
    initId ??= Number.parseInt(text, 10);
  });
  const ready = await waitFor(
    () => initId !== undefined || hasEnded(namespaces) || stopping !== undefined,
    startLimitMs,
  );
  if (stopping !== undefined) return;
  if (!ready || initId === undefined) throw new Error('the namespaces cannot be made');
  namespaces.once('exit', () => void fail('the namespaces have ended'));
  await handedOver;
  tell({ type: 'started', processId: initId });
}

async function fail(message: string): Promise<void> {
  if (stopping === undefined) tell({ type: 'failed', message });
  await stop();
}

function stop(): Promise<void> {
  stopping ??= takeDown();
  return stopping;
}

async function takeDown(): Promise<void> {
  const orForce = async (done: () => boolean) => {
    if (await waitFor(done, stopLimitMs)) return true;
    await abortConnection();
    return await waitFor(done, stopLimitMs);
  };
  await killNamespaces();
  await orForce(() => hasEnded(namespaces));
  lastWill?.stdin?.end();
  if (lastWill === undefined) signal(storage?.pid, 'SIGTERM');
  if (!(await orForce(() => hasEnded(storage)))) signal(storage?.pid, 'SIGKILL');
  if (!(await waitFor(() => hasEnded(lastWill), stopLimitMs))) signal(lastWill?.pid, 'SIGKILL');
  for (const folder of settings.cgroups) await removeGroup(folder);
  await new Promise<void>((resolve) => {
    if (process.connected) process.send?.({ type: 'stopped' } satisfies FromSupervisor, () => resolve());
    else resolve();
  });
  process.exit(0);
}

/**
 * Kills the namespaces' first process, with which all others in them end. While its id is not known, `unshare` may have
 * started it a moment ago without having tied it to itself yet: `unshare` is stopped, so that its child can be found.
 */
async function killNamespaces(): Promise<void> {
  const id = namespaces?.pid;
  if (initId !== undefined || id === undefined || hasEnded(namespaces)) return signal(initId, 'SIGKILL');
  signal(id, 'SIGSTOP');
  const stopped = /^State:\sT/m;
  await waitFor(() => hasEnded(namespaces) || stopped.test(readNow(`/proc/${id}/status`)), stopLimitMs);
  for (const child of readNow(`/proc/${id}/task/${id}/children`).split(' ')) {
    if (child !== '') signal(Number(child), 'SIGKILL');
  }
  signal(id, 'SIGKILL');
}

/** A file of /proc; empty when its process has ended. */
function readNow(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function abortConnection(): Promise<void> {
  if (connection === null) return;
  const aborted = begin(
    'unshare',
    ['--mount', 'sh', '-c', abortScript, 'abort', connection],
    ['ignore', 'ignore', 'inherit'],
  );
  await waitFor(() => hasEnded(aborted), stopLimitMs);
}

/** Every child has a session of its own, so that a signal to the group of a terminal or a service does not reach it. */
function begin(
  file: string,
  commandArguments: readonly string[],
  stdio: ('ignore' | 'pipe' | 'inherit')[],
): ChildProcess {
  const child = spawn(file, commandArguments, { stdio, detached: true });
  child.on('error', (error) => void fail(`${file} cannot be started: ${error.message}`));
  return child;
}

function hasEnded(child: ChildProcess | undefined): boolean {
  return child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

function signal(id: number | undefined, name: NodeJS.Signals): void {
  try {
    if (id !== undefined) process.kill(id, name);
  } catch {
    // It has ended.
  }
}

function tell(message: FromSupervisor): void {
  if (process.connected) process.send?.(message);
}
