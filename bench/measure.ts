import { readFileSync } from 'node:fs';

/** Measures the time of programs, and sums the numbers up. */

/** Seconds of each step, in the order in which they came. */
export type Steps = Readonly<Record<string, number>>;

export interface Times {
  readonly steps: Steps;
  readonly totalSeconds: number;
}

/** A build of Image Builder. */
export interface BuildTimes extends Times {
  readonly processorSeconds: number;
}

export interface Measurement extends Times {
  /** Most memory that all processes together had at one time. */
  readonly peakBytes: number;
}

/** Processor time of this process and of those that it has started and that have ended, in seconds. */
export function processorSeconds(): number {
  return sumOfTimes(0, 4);
}

/** Processor time of the processes that this one has started and that have ended, in seconds. */
export function processorSecondsOfChildren(): number {
  return sumOfTimes(2, 4);
}

/** Of the times of this process (as a user, in the kernel) and those of its children (likewise). */
function sumOfTimes(from: number, to: number): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  // proc_pid_stat(5): the fields 14 to 17; the name, in brackets, is the second.
  const times = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15);
  return times.slice(from, to).reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}

/** USER_HZ, on every architecture of Debian. */
const ticksPerSecond = 100;

/** Splits time into steps: each lasts until the next begins, or until `end`. */
export class Stopwatch {
  readonly #steps: Record<string, number> = {};
  readonly #started = performance.now();
  #name: string | null = null;
  #since = 0;

  begin(name: string): void {
    this.#close();
    this.#name = name;
    this.#since = performance.now();
  }

  end(): Times {
    this.#close();
    return { steps: this.#steps, totalSeconds: (performance.now() - this.#started) / 1000 };
  }

  #close(): void {
    if (this.#name === null) return;
    const seconds = (performance.now() - this.#since) / 1000;
    this.#steps[this.#name] = (this.#steps[this.#name] ?? 0) + seconds;
    this.#name = null;
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The median of each step over all rounds. */
export function medianSteps(rounds: readonly Measurement[]): Steps {
  const names = new Set(rounds.flatMap((round) => Object.keys(round.steps)));
  return Object.fromEntries([...names].map((name) => [name, median(rounds.map((round) => round.steps[name] ?? 0))]));
}

/**
 * The ratio of two ways to do one thing: the median of the ratios of the rounds. Other users slow the machine down, so
 * the two are comparable only at about the same time.
 */
export function medianRatio(values: readonly number[], others: readonly number[]): number {
  return median(values.map((value, round) => value / (others[round] ?? Number.NaN)));
}
