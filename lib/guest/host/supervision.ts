import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Server } from 'node:net';
import { join } from 'node:path';
import { orAborted } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { cleanEnvironment, lastLines } from '../../exec.ts';
import { guestVariable } from '../identity.ts';
import { endGuest } from '../sweep.ts';
import {
  type FromSupervisor,
  type FromWorker,
  proxyPort,
  type StorageDisk,
  type SupervisorArgument,
  type SupervisorSettings,
} from './messages.ts';
import { lastWillScript, storageArguments } from './storage.ts';

/** The worker's end of a supervisor. */
export interface Supervision extends AsyncDisposable {
  /** First process of the namespaces, by which they are entered. */
  readonly processId: number;
  /** Listens for scripts that want the worker's proxy; it is closed with the guest. */
  readonly listener: Server;
  /** Aborted, with the error as its reason, when the disk or the namespaces are lost. */
  readonly lost: AbortSignal;
  /** Notes a loop device on the disk: the disk has to stay until the device is gone. */
  holdUntilGone(loop: string): void;
  /** Takes everything down; resolves when it is gone. Further calls wait for the first. */
  stop(): Promise<void>;
}

/** A supervisor that is starting, or waits for `begin`, which says that the overlay is there. */
export interface Supervisor {
  /**
   * Exports the disk and makes the namespaces. Throws `guest.failed` where that cannot be done, or the reason of
   * `signal`; nothing is left running then.
   */
  begin(disk: StorageDisk, signal: AbortSignal): Promise<Supervision>;
  /** Takes down everything that exists by now; resolves when it is gone. */
  stop(): Promise<void>;
}

/** `launchSupervisor` for an overlay that is there already. */
export async function startSupervisor(
  settings: SupervisorSettings,
  disk: StorageDisk,
  directory: string,
  signal: AbortSignal,
): Promise<Supervision> {
  signal.throwIfAborted();
  return await launchSupervisor(settings, directory).begin(disk, signal);
}

/** Starts the supervisor of one guest, which takes a moment, without waiting for it. `directory` is for its log. */
export function launchSupervisor(settings: SupervisorSettings, directory: string): Supervisor {
  const logPath = join(directory, 'supervisor.log');
  const child = launch(settings, directory, logPath);
  let stopped = false;
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const lost = new AbortController();
  const send = (message: FromWorker) => {
    if (child.connected) child.send(message, () => {});
  };
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      send({ type: 'stop' });
      await ended;
      listener?.close();
      if (!stopped) await endGuest(directory);
    })();
    return stopping;
  };
  const lose = async (message: string) => {
    if (stopping !== undefined || lost.signal.aborted) return;
    const tail = lastLines(await readFile(logPath, 'utf8').catch(() => ''), 10);
    const detail = tail.at(-1);
    lost.abort(
      new ImageBuilderError(
        'guest.failed',
        `the image cannot be kept open: ${message}${detail === undefined ? '' : ` (${detail})`}`,
        {
          logTail: tail,
        },
      ),
    );
  };
  let listener: Server | undefined;
  const started = new Promise<{ processId: number; listener: Server }>((resolve) => {
    child.on('message', (message: FromSupervisor, handle: unknown) => {
      if (message.type === 'failed') void lose(message.message);
      if (message.type === 'stopped') stopped = true;
      if (message.type === 'listening' && handle instanceof Server) listener = handle;
      if (message.type === 'started' && listener !== undefined) resolve({ processId: message.processId, listener });
    });
  });
  child.on('error', (error) => void lose(`its supervisor cannot be started: ${error.message}`));
  child.on('exit', () => void lose('its supervisor has ended'));

  async function begin(disk: StorageDisk, signal: AbortSignal): Promise<Supervision> {
    send({ type: 'begin', storage: storageArguments(disk, settings.exportPath) });
    try {
      return {
        ...(await orAborted(started, signal, lost.signal)),
        lost: lost.signal,
        holdUntilGone: (name) => send({ type: 'loop', name }),
        stop,
        [Symbol.asyncDispose]: stop,
      };
    } catch (error) {
      await stop();
      throw error;
    }
  }

  return { begin, stop };
}

/**
 * Brings up the loopback interface of a new network namespace and becomes the command. It uses the kernel's files,
 * since `ip` need not be installed. These files are mounted in a mount namespace of their own, since the supervisor
 * needs the worker's.
 */
const networkScript = `
unshare --mount sh -c 'mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/lo/flags' || {
  echo 'no network can be made for the guest, which needs CAP_NET_ADMIN' >&2
  exit 1
}
# The network belongs to the worker's user namespace: root in that of a container may use no port below this number.
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start || :
exec "$@"`;

/**
 * Starts the supervisor in a session and a network namespace of its own, tied to this process only by the IPC channel.
 * The whole guest is in that namespace, where only this process answers, on the listener.
 */
function launch(settings: SupervisorSettings, directory: string, logPath: string): ChildProcess {
  const log = openSync(logPath, 'a');
  const argument: SupervisorArgument = { ...settings, port: proxyPort, lastWill: lastWillScript };
  try {
    return fork(join(import.meta.dirname, 'supervisor.js'), [JSON.stringify(argument)], {
      detached: true,
      execPath: 'unshare',
      execArgv: ['--net', '--', 'sh', '-c', networkScript, 'network', process.execPath],
      env: { ...cleanEnvironment, [guestVariable]: directory },
      stdio: ['ignore', 'ignore', log, 'ipc'],
    });
  } finally {
    closeSync(log);
  }
}
