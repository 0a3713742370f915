import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadConfig } from '#lib/config/load.ts';
import type { GuestDisk } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { createLog } from '#lib/log.ts';
import { busy } from './guest-disk.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Gives up all rights of root, for good, where this process is root. */
export function becomeNobody(): void {
  if (process.getuid?.() !== 0) return;
  const nobody = 65_534;
  process.setgroups?.([]);
  process.setgid?.(nobody);
  process.setuid?.(nobody);
}

/**
 * Kills a worker once a script of it runs inside the disk that would write for minutes. It opens the disk by the host
 * guest, or by the vm with `vm`; `launcher` are words before its command, `beforeEnd` kills other processes first.
 */
export async function withKilledWorker(
  disk: GuestDisk,
  options: {
    readonly vm?: VmSettings;
    readonly launcher?: readonly string[];
    readonly beforeEnd?: () => Promise<unknown>;
    /** Resolves when the worker is to be killed. Default: once the script runs. */
    readonly until?: () => Promise<unknown>;
  } = {},
): Promise<void> {
  const task: Task = { disk, ...(options.vm === undefined ? {} : { vm: options.vm }) };
  const [file = '', ...args] = [
    ...(options.launcher ?? []),
    ...[process.execPath, import.meta.filename, JSON.stringify(task)],
  ];
  const worker = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await (options.until?.() ?? once(worker.stdout, 'data'));
  await options.beforeEnd?.();
  worker.kill('SIGKILL');
  await once(worker, 'exit');
}

interface Task {
  readonly disk: GuestDisk;
  readonly vm?: VmSettings;
}

if (import.meta.main) {
  const { disk, vm } = JSON.parse(process.argv[2] ?? '') as Task;
  const log = createLog();
  const guest =
    vm === undefined
      ? createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log })
      : createVmGuest({ ...vm, log });
  const session = await guest.open(disk, { signal: new AbortController().signal, onNotice: () => {}, binds: [] });
  await session.run(busy(() => console.log('busy')));
}
