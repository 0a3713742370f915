import type { ImageBuilderError } from '../../errors.ts';
import { limitError, tooManyProcesses } from '../script-run.ts';

/** Limits on everything that runs in a vm together. */
export interface VmLimits {
  /** Memory of the vm; QEMU itself takes up to some 400 MiB more. */
  readonly vmMemoryBytes: number;
  /** Room in the work directory for memory that does not fit into that. */
  readonly vmSwapBytes: number;
  /** Most processes and threads in the vm. */
  readonly guestProcesses: number;
}

/** The limits that init reports when they are met. */
export type Limited = 'memory' | 'processes';

/** `guest.limit`; `console` are the last lines of the vm's. */
export function limitMet(limited: Limited, limits: VmLimits, console: readonly string[]): ImageBuilderError {
  if (limited === 'processes') return limitError(tooManyProcesses(limits.guestProcesses), console);
  const [memory, swap] = [limits.vmMemoryBytes, limits.vmSwapBytes].map((bytes) => Math.floor(bytes / 2 ** 20));
  const allowed = `the ${memory} MiB that IMAGEBUILDER_VM_MEMORY allows and the ${swap} MiB of IMAGEBUILDER_VM_SWAP`;
  return limitError(`memory than ${allowed}: raise IMAGEBUILDER_VM_MEMORY`, console);
}

/** Last words of a kernel that has nothing left to kill, or is configured not to try (mm/oom_kill.c). */
const outOfMemory = /Kernel panic - not syncing: (System is deadlocked on memory|Out of memory: )/;

/** True where these were a vm's last words because its memory was used up. */
export function diedOfMemory(console: readonly string[]): boolean {
  return console.some((line) => outOfMemory.test(line));
}
