// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { waitFor } from '../../wait-for.js';
import { abortScript, fuseConnection } from './fuse-connection.js';
import { removeGroup } from './remove-group.js';

/**
 * The process that owns one host guest and outlives the worker's death. On `begin`, it starts the storage daemon and
 * the namespaces, and takes them down in the one order that is safe: namespaces, loop devices, daemon. It does so on
 * `stop`, when the worker dies (its IPC channel closes), and when the daemon dies.
 *
 * When it is killed itself, the kernel kills the namespaces with it (parent-death signals), and the daemon's last will
 * ends the daemon. It uses child_process directly and imports almost nothing: it has to start fast and to survive. It is
 * JavaScript for that reason: stripping types would take most of the time that it takes to start.
 */

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/** @typedef {import('./messages.ts').FromSupervisor} FromSupervisor */

const startLimitMs = 30_000;
/** Pause between two looks whether the worker is still there. */
const lookMs = 500;
/** Time limit of each step of the teardown, before the FUSE connection is aborted. */
const stopLimitMs = 5_000;

/** @type {import('./messages.ts').SupervisorArgument} */
const settings = JSON.parse(process.argv[2] ?? '');
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

/** @type {ChildProcess | undefined} */
let storage;
/** @type {ChildProcess | undefined} */
let lastWill;
/** @type {ChildProcess | undefined} */
let namespaces;
/** @type {number | undefined} */
let initId;
/** @type {string | null} */
let connection = null;
/** @type {Promise<void> | undefined} */
let stopping;

process.on('message', (/** @type {import('./messages.ts').FromWorker} */ message) => {
  if (message.type === 'loop') lastWill?.stdin?.write(`${message.name}\n`);
  else if (message.type === 'begin')
    void start(message.storage).catch((/** @type {Error} */ error) => fail(error.message));
  else void stop();
});
process.on('disconnect', () => void stop());
// Node keeps that event back until the worker acknowledges the socket of `handOver`, which it may die before.
setInterval(() => {
  if (!process.connected) void stop();
}, lookMs);
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => void stop());

/** Sends the worker a socket that listens in this process's network namespace, which is the guest's. */
async function handOver() {
  const server = createServer();
  server.listen(settings.port, '127.0.0.1');
  await once(server, 'listening');
  /** @type {FromSupervisor} */
  const message = { type: 'listening' };
  await new Promise((resolve) => {
    if (process.connected) process.send?.(message, server, resolve);
    else resolve(null);
  });
  server.close();
}
const handedOver = handOver();
handedOver.catch(() => {});

/** @param {readonly string[]} storageArguments */
async function start(storageArguments) {
  if (stopping !== undefined) return;
  storage = begin('unshare', storageArguments, ['ignore', 'ignore', 'inherit']);
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
    ['-c', settings.lastWill, 'last-will', String(storageId), settings.exportPath],
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
  namespaces.stdout?.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
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

/** @param {string} message */
async function fail(message) {
  if (stopping === undefined) tell({ type: 'failed', message });
  await stop();
}

function stop() {
  stopping ??= takeDown();
  return stopping;
}

async function takeDown() {
  const orForce = async (/** @type {() => boolean} */ done) => {
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
  /** @type {FromSupervisor} */
  const message = { type: 'stopped' };
  await new Promise((resolve) => {
    if (process.connected) process.send?.(message, resolve);
    else resolve(null);
  });
  process.exit(0);
}

/**
 * Kills the namespaces' first process, with which all others in them end. While its id is not known, `unshare` may have
 * started it a moment ago without having tied it to itself yet: `unshare` is stopped, so that its child can be found.
 */
async function killNamespaces() {
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

/**
 * A file of /proc; empty when its process has ended.
 * @param {string} path
 */
function readNow(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function abortConnection() {
  if (connection === null) return;
  const aborted = begin(
    'unshare',
    ['--mount', 'sh', '-c', abortScript, 'abort', connection],
    ['ignore', 'ignore', 'inherit'],
  );
  await waitFor(() => hasEnded(aborted), stopLimitMs);
}

/**
 * Every child has a session of its own, so that a signal to the group of a terminal or a service does not reach it.
 * @param {string} file
 * @param {readonly string[]} commandArguments
 * @param {('ignore' | 'pipe' | 'inherit')[]} stdio
 * @returns {ChildProcess}
 */
function begin(file, commandArguments, stdio) {
  const child = spawn(file, commandArguments, { stdio, detached: true });
  child.on('error', (error) => void fail(`${file} cannot be started: ${error.message}`));
  return child;
}

/** @param {ChildProcess | undefined} child */
function hasEnded(child) {
  return child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/**
 * @param {number | undefined} id
 * @param {NodeJS.Signals} name
 */
function signal(id, name) {
  try {
    if (id !== undefined) process.kill(id, name);
  } catch {
    // It has ended.
  }
}

/** @param {FromSupervisor} message */
function tell(message) {
  if (process.connected) process.send?.(message);
}
