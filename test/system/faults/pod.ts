import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fleet } from '../../../lab/fleet/fleet.ts';
import { call } from '../../../lab/servers/function.ts';
import { startWatched, type WatchedFunction } from '../../../lab/servers/watchdog.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
const startLimitMs = 60_000;

/** Starts a worker behind the watchdog, as in a pod, and resolves when it is ready. */
export async function startPod(
  fleet: Fleet,
  { name = 'pod', env = {} }: { readonly name?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<WatchedFunction> {
  const pod = await startWatched({
    handler: join(repository, 'functions/build-worker/handler.ts'),
    env: { ...fleet.settings, IMAGEBUILDER_WORKER_NAME: name, exec_timeout: '4h', max_inflight: '4', ...env },
  });
  for (const end = Date.now() + startLimitMs; Date.now() < end; await sleep(50)) {
    if ((await call(pod.address, '/_/health').catch(() => null))?.status === 200) return pod;
  }
  await pod[Symbol.asyncDispose]();
  throw new Error('the pod does not start');
}
