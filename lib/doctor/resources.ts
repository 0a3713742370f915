import { availableParallelism, cpus, totalmem } from 'node:os';
import type { GuestReport } from '../api/event.ts';
import type { GuestSettings } from '../config/guest.ts';
import { formatBytes } from '../text.ts';
import type { Finding } from './finding.ts';

/** Processors and memory, by the limits of the container where there are any. */

export interface Resources {
  readonly processors: number;
  /** Processors that this process may use at a time. */
  readonly usableProcessors: number;
  readonly memoryBytes: number;
  /** Memory that the machine and the container leave at the moment. */
  readonly availableBytes: number;
}

const MiB = 1024 ** 2;
/** Memory of a worker and its tools, and of QEMU beside the memory of its vm. */
const workerBytes = 500 * MiB;
const emulatorBytes = 400 * MiB;

export function readResources(): Resources {
  // Where nothing limits it, the kernel reports a number beyond all memory, or Node no number.
  const limit = process.constrainedMemory();
  const memoryBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return {
    processors: cpus().length,
    usableProcessors: availableParallelism(),
    memoryBytes,
    availableBytes: Math.min(process.availableMemory(), memoryBytes),
  };
}

/** Judges the resources for the guest that builds use; null where there is none. */
export function resourceFindings(
  resources: Resources,
  settings: Pick<GuestSettings, 'vmMemoryBytes' | 'vmCpus'>,
  guest: Pick<GuestReport, 'kind'> | null,
): Finding[] {
  const { processors, usableProcessors, memoryBytes, availableBytes } = resources;
  const { vmCpus, vmMemoryBytes } = settings;
  const isVm = guest?.kind === 'vm';
  const needed = vmMemoryBytes + emulatorBytes + workerBytes;
  return [
    {
      what: 'processors',
      ok: true,
      detail: `${usableProcessors} of ${processors} may be used`,
      ...(isVm && vmCpus !== null && vmCpus > usableProcessors
        ? { todo: `give it ${vmCpus} processors, or set IMAGEBUILDER_VM_CPUS to ${usableProcessors}` }
        : {}),
    },
    {
      what: 'memory',
      ok: true,
      detail: `${formatBytes(memoryBytes)}, of which ${formatBytes(availableBytes)} can be had now`,
      ...(isVm && memoryBytes < needed
        ? { todo: `give it ${formatBytes(needed)} of memory, or lower IMAGEBUILDER_VM_MEMORY: the vm may be killed` }
        : {}),
    },
  ];
}
