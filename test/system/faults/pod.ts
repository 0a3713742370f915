import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fleet } from '../../../lab/fleet/fleet.ts';
import { freePorts } from '../../../lab/servers/ports.ts';

/** A worker as it runs in a pod: under the watchdog, which gets the signals and the calls. */
export interface Pod extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly address: { readonly host: string; readonly port: number };
  /** Resolves with the watchdog's exit code. */
  readonly exited: Promise<number | null>;
}

const repository = join(import.meta.dirname, '..', '..', '..');
const startLimitMs = 60_000;

/** Starts it and resolves when the watchdog says that it is up and the function answers. */
export async function startPod(fleet: Fleet): Promise<Pod> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-pod-'));
  const [port = 0, functionPort = 0] = await freePorts(2);
  const at = (path: string) => join(repository, path);
  const child = spawn(process.execPath, [at('lab/servers/watchdog-stand-in.ts')], {
    env: {
      ...fleet.settings,
      PATH: process.env.PATH ?? '',
      TMPDIR: directory,
      IMAGEBUILDER_WORKER_NAME: 'pod',
      port: String(port),
      PORT: String(functionPort),
      upstream_url: `http://127.0.0.1:${functionPort}`,
      fprocess: `${process.execPath} ${at('template/node24-ts/index.ts')} ${at('functions/build-worker/handler.ts')}`,
      exec_timeout: '4h',
      healthcheck_interval: '2s',
      max_inflight: '4',
    },
    stdio: ['ignore', 'inherit', 'ignore'],
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const pod: Pod = {
    child,
    address: { host: '127.0.0.1', port },
    exited,
    async [Symbol.asyncDispose]() {
      // The function would outlive a watchdog that is killed.
      child.kill('SIGTERM');
      await exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
  for (const end = Date.now() + startLimitMs; Date.now() < end; await sleep(50)) {
    const up = await stat(join(directory, '.lock')).catch(() => null);
    if (up !== null && (await isListening(functionPort))) return pod;
  }
  await pod[Symbol.asyncDispose]();
  throw new Error('the pod does not start');
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.destroy());
    socket.once('error', () => resolve(false)).once('close', (failed) => resolve(!failed));
  });
}
