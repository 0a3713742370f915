import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { orAborted } from '../../async.ts';
import type { Accelerator } from './machine.ts';

/** The number of virtual processors, by what the machine has free. */

export interface ProcessorChoice {
  readonly count: number;
  /** The reason, for logs. */
  readonly reason: string;
}

export interface ProcessorRoom {
  /** Processors that this process may use at a time. */
  readonly usable: number;
  /** Processors of the machine that nothing else keeps busy, such as 1.4; null where that is not known. */
  readonly free: number | null;
}

/** More help little: of a package's installation, hardly anything runs beside dpkg. */
const most = 2;
/** Two emulated processors that share one wait for each other most of the time. */
const leastFree = 1.5;

/** Chooses the number; `setting` is the one that the settings name, or null. */
export function chooseProcessors(
  setting: number | null,
  accelerator: Accelerator,
  { usable, free }: ProcessorRoom,
): ProcessorChoice {
  if (setting !== null) return { count: setting, reason: 'IMAGEBUILDER_VM_CPUS' };
  if (usable < most) return { count: usable, reason: `${usable} may be used` };
  if (accelerator === 'kvm' || free === null) return { count: most, reason: `${usable} may be used` };
  return { count: free < leastFree ? 1 : most, reason: `${free.toFixed(1)} are free` };
}

/** The room where nothing depends on what is free. */
export function unmeasuredRoom(): ProcessorRoom {
  return { usable: availableParallelism(), free: null };
}

/** Long enough for ticks of ten milliseconds to count, and short beside a start. */
const windowMs = 250;

/**
 * Measures for a quarter of a second how many processors nothing but this process keeps busy. The load average would
 * still count a build that has just ended, and pressure counts nothing where every process has a processor of its own.
 */
export async function measureRoom(signal: AbortSignal): Promise<ProcessorRoom> {
  const { usable } = unmeasuredRoom();
  const allowed = parseProcessors(await readFile('/proc/self/status', 'utf8').catch(() => ''));
  const idle = async () => idleMs(await readFile('/proc/stat', 'utf8').catch(() => ''), allowed);
  const [before, started, used] = [await idle(), performance.now(), process.cpuUsage()];
  await orAborted(sleep(windowMs), signal);
  const after = await idle();
  if (before === null || after === null) return { usable, free: null };
  const elapsedMs = performance.now() - started;
  const own = process.cpuUsage(used);
  const ownMs = (own.user + own.system) / 1000;
  return { usable, free: Math.min(usable, Math.max(0, after - before + ownMs) / elapsedMs) };
}

/** Ranges of the processors that a process may use, by its file `status` in /proc: first and last number. */
export function parseProcessors(status: string): [number, number][] {
  const list = /^Cpus_allowed_list:\s*([0-9,-]+)$/m.exec(status)?.[1] ?? '';
  return list.split(',').flatMap((range): [number, number][] => {
    const [first, last = first] = range.split('-');
    return first === undefined || first === '' ? [] : [[Number(first), Number(last)]];
  });
}

/** USER_HZ, on every architecture of Debian: 100 a second. */
const tickMs = 10;

/**
 * Time that these processors have been idle (`idle` and `iowait` of /proc/stat) since the machine has started, in
 * milliseconds; null where the kernel does not say.
 */
export function idleMs(stat: string, allowed: readonly (readonly [number, number])[]): number | null {
  const times = stat.split('\n').flatMap((line) => {
    const [, processor, idle, waiting] = /^cpu([0-9]+) (?:[0-9]+ ){3}([0-9]+) ([0-9]+)/.exec(line) ?? [];
    const counts = allowed.some(([first, last]) => Number(processor) >= first && Number(processor) <= last);
    return counts ? [(Number(idle) + Number(waiting)) * tickMs] : [];
  });
  return times.length === 0 ? null : times.reduce((sum, each) => sum + each, 0);
}
