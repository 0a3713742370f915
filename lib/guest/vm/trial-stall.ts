import { readFile } from 'node:fs/promises';

/** Finds out that a machine does nothing any more, however little of the processor it gets on a busy worker. */

/** Seconds without a new read. */
interface Patience {
  /** Of processor time. */
  readonly busy: number;
  readonly idle: number;
}

/** Boot loaders do little but read, and wait for keys only, which they get. */
const withoutKernel: Patience = { busy: 40, idle: 30 };
/** Kernels take their time over initial ramdisks; systems wait for devices that never come, up to 90 seconds. */
const withKernel: Patience = { busy: 180, idle: 120 };
/** Share of a processor that an emulated machine uses at most while it waits. */
const idleShare = 1 / 30;

export interface Sample {
  /** Seconds since the start. */
  readonly at: number;
  /** Processor time of the machine so far, in seconds. */
  readonly processor: number;
  /** The count of parts of the image that it has read so far. */
  readonly parts: number;
  /** False as long as only firmware and boot loader run. */
  readonly hasKernel: boolean;
}

/**
 * Judges samples in turn: the returned function gives the reason why the machine does not come up, or null for as long
 * as it may.
 */
export function watchForStall(): (sample: Sample) => string | null {
  /** Those since the last new read. */
  let samples: Sample[] = [];
  return (sample) => {
    if (sample.parts > (samples.at(-1)?.parts ?? -1)) samples = [];
    samples.push(sample);
    const { busy, idle } = sample.hasKernel ? withKernel : withoutKernel;
    const computed = sample.processor - (samples[0]?.processor ?? 0);
    if (computed >= busy) return `it has computed for ${Math.floor(computed)} seconds and read nothing new`;
    // It may have computed for a while before it began to wait.
    const from = samples.findLast(({ at }) => sample.at - at >= idle);
    if (from === undefined) return null;
    const waited = sample.at - from.at;
    const isIdle = sample.processor - from.processor <= waited * idleShare;
    return isIdle ? `it has done nothing for ${Math.floor(waited)} seconds` : null;
  };
}

/** Linux counts processor time of processes in hundredths of a second. */
const ticksPerSecond = 100;

/** Processor time that a process has used so far, in seconds; null for one that has ended. */
export async function processorSeconds(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  // The name of the program, in parentheses, may hold blanks.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  const [user, system] = [Number(fields?.[11]), Number(fields?.[12])];
  return Number.isFinite(user + system) ? (user + system) / ticksPerSecond : null;
}
