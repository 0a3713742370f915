import { mkdir, open as openFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { workerArchitecture } from '../../architecture.ts';
import type { Partition } from '../../image/partition.ts';
import type { Log } from '../../log.ts';
import { assertGrows, growError, growScript } from '../grow.ts';
import type { Guest, GuestDisk, GuestOptions, GuestSession, LayeredDisk, PartitionedDisk } from '../guest.ts';
import { guestDirectory } from '../identity.ts';
import { stackModules, stackOf } from '../stack.ts';
import { type Attachment, type AttachOptions, attach, partitionsToOpen } from './attach.ts';
import { attachStack } from './attach-stack.ts';
import { prepareForeignVm, vmArchitecture } from './foreign.ts';
import type { GuestKernel } from './kernel.ts';
import { findLinkedProgram, type LinkedProgram } from './linked-program.ts';
import { networkModules } from './machine.ts';
import { type Disk, guestProxyUrl } from './machine-command.ts';
import { openPayload } from './payload.ts';
import { initramfsFor, prepareVm, type VmSettings } from './prepare.ts';
import { chooseProcessors, measureRoom, unmeasuredRoom } from './processors.ts';
import { startSaved } from './saved-states.ts';
import { startVm, type VmOptions } from './vm.ts';
import { createScriptRunner, createVmSession, type ScriptRunner } from './vm-session.ts';
import { vmUser } from './vm-user.ts';

export interface VmGuestOptions extends VmSettings {
  readonly log: Log;
}

/** A vm that takes longer than this to start will not start at all, even on a slow machine. */
const startLimitMs = 300_000;

/**
 * The guest that needs no privileges: a small QEMU machine opens the overlay, and its kernel reads the image's file
 * systems. A hostile image or package has only the vm to attack.
 */
export function createVmGuest(options: VmGuestOptions): Guest {
  return {
    kind: 'vm',
    scratchBytes: options.vmSwapBytes,
    open: async (disk, guestOptions) => await open(disk, guestOptions, options),
  };
}

async function open(disk: GuestDisk, options: GuestOptions, settings: VmGuestOptions): Promise<GuestSession> {
  const { signal, binds, onNotice } = options;
  const log = settings.log.with({ build_id: disk.buildId });
  signal.throwIfAborted();
  const architecture = vmArchitecture(disk.architecture ?? workerArchitecture);
  // Beside the preparations, which take as long.
  const measured = settings.vmCpus === null ? measureRoom(signal) : null;
  measured?.catch(() => {});
  const parts =
    architecture === workerArchitecture
      ? await prepareVm(settings)
      : await prepareForeignVm(architecture, settings, { ...options, workDirectory: disk.workDirectory });
  const { kernel } = parts;
  const proxy = settings.vmNetwork && options.proxy !== undefined ? new URL(options.proxy.url) : null;
  const form = 'layers' in disk ? await layered(disk, kernel) : partitioned(disk, kernel);
  const { partitions, program } = form;
  const modules = [...(proxy === null ? [] : networkModules), ...form.modules];
  const initramfsPath = await initramfsFor(parts, partitions, { modules, program });

  const directory = guestDirectory(disk.workDirectory);
  await mkdir(directory);
  await using opened = new AsyncDisposableStack();
  opened.defer(async () => await rm(directory, { recursive: true, force: true }));
  const payload = opened.use(await openPayload(directory));
  const disks: Disk[] = [{ source: { rawPath: payload.path, readOnly: true }, serial: 'payload' }];
  if (settings.vmSwapBytes > 0) {
    const rawPath = join(directory, 'swap.raw');
    await makeSparse(rawPath, settings.vmSwapBytes);
    disks.push({ source: { rawPath, readOnly: false }, serial: 'swap' });
  }
  // Only emulated processors wait for each other.
  const room = parts.accelerator === 'tcg' ? await measured : null;
  options.onMeasured?.();
  const processors = chooseProcessors(settings.vmCpus, parts.accelerator, room ?? unmeasuredRoom());
  const startedMs = performance.now();
  const wanted: VmOptions = {
    machine: parts.machine,
    accelerator: parts.accelerator,
    kernelPath: kernel.imagePath,
    initramfsPath,
    memoryBytes: settings.vmMemoryBytes,
    cpus: processors.count,
    overlay: {
      path: disk.overlayPath,
      base: disk.base,
      parts: partitions.map(({ number, offsetBytes, sizeBytes }) => {
        return { serial: `image${number}`, offsetBytes, sizeBytes, readOnly: form.readOnly.includes(number) };
      }),
    },
    proxy: proxy === null ? null : { host: proxy.hostname, port: Number(proxy.port) },
    disks,
    statePath: null,
    saveFolder: null,
    directory,
    user: vmUser(settings.unprivilegedIds, parts.accelerator),
    limits: settings,
  };
  const saved = await startSaved(wanted, { cacheDirectory: settings.cacheDirectory, log }, signal);
  const vm = opened.use(saved ?? (await startVm(wanted, startLimitMs, signal)));
  const readyMs = Math.round(performance.now() - startedMs);
  log.info('the vm is ready', {
    ...{ accelerator: parts.accelerator, kernel: kernel.release, ready_ms: readyMs, restored: saved !== null },
    ...{ processors: processors.count, processors_reason: processors.reason },
  });

  const proxyUrl = proxy === null ? null : guestProxyUrl(proxy);
  const runner = createScriptRunner({ vm, payload, disk, signal, proxyUrl });
  const attachment = await form.attach(runner, { architecture, processes: settings.guestProcesses, binds, onNotice });
  const ending = opened.move();
  return createVmSession({
    ...{ runner, vm, disk, attachment, log, proxyUrl, accelerator: parts.accelerator },
    end: () => ending.disposeAsync(),
  });
}

/** The file systems that become disks of the vm, and how it opens them. */
interface DiskForm {
  readonly partitions: readonly Partition[];
  /** Numbers of those that cannot be written to. */
  readonly readOnly: readonly number[];
  readonly modules: readonly string[];
  readonly program: LinkedProgram | null;
  attach(
    runner: ScriptRunner,
    options: Pick<AttachOptions, 'architecture' | 'processes' | 'binds' | 'onNotice'>,
  ): Promise<Attachment>;
}

function partitioned({ partitions, grown = null }: PartitionedDisk, kernel: GuestKernel): DiskForm {
  return {
    partitions: partitionsToOpen(kernel, partitions),
    ...{ readOnly: [], modules: [], program: null },
    async attach(runner, options) {
      const attachment = await attach({ kernel, partitions, run: runner.around, ...options });
      if (grown === null) return attachment;
      const { root } = attachment;
      assertGrows(root, grown);
      await runner.inside(await growScript(root)).catch((error: unknown) => Promise.reject(growError(error, root)));
      return attachment;
    },
  };
}

async function layered(disk: LayeredDisk, kernel: GuestKernel): Promise<DiskForm> {
  const stack = stackOf(disk);
  return {
    partitions: [...stack.layers, stack.scratch],
    readOnly: stack.layers.map(({ number }) => number),
    modules: stackModules,
    program: await findLinkedProgram('tar'),
    attach: async (runner, options) => await attachStack(stack, { kernel, run: runner.around, ...options }),
  };
}

async function makeSparse(path: string, sizeBytes: number): Promise<void> {
  await using file = await openFile(path, 'wx', 0o600);
  await file.truncate(sizeBytes);
}
