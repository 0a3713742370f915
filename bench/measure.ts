/** Measures the time of programs, and sums the numbers up. */

/** Seconds of each step, in the order in which they came. */
export type Steps = Readonly<Record<string, number>>;

export interface Times {
  readonly steps: Steps;
  readonly totalSeconds: number;
}

export interface Measurement extends Times {
  /** Most memory that all processes together had at one time. */
  readonly peakBytes: number;
}

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
