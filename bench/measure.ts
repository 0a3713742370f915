import { readdir, readFile } from 'node:fs/promises';

/** Time and memory of what runs, and what is made of the numbers. */

/** Seconds of each step, in the order in which they came. */
export type Steps = ReadonlyMap<string, number>;

export interface Measurement {
  readonly steps: Steps;
  readonly totalSeconds: number;
  /** Largest sum of resident memory over this process's descendants and whatever works in the folder. */
  readonly peakBytes: number;
}

/** Splits time into steps: each lasts until the next begins, or until `end`. */
export class Stopwatch {
  readonly #steps = new Map<string, number>();
  readonly #started = performance.now();
  #name: string | null = null;
  #since = 0;

  begin(name: string): void {
    this.#close();
    this.#name = name;
    this.#since = performance.now();
  }

  end(): { steps: Steps; totalSeconds: number } {
    this.#close();
    return { steps: this.#steps, totalSeconds: (performance.now() - this.#started) / 1000 };
  }

  #close(): void {
    if (this.#name === null) return;
    const seconds = (performance.now() - this.#since) / 1000;
    this.#steps.set(this.#name, (this.#steps.get(this.#name) ?? 0) + seconds);
    this.#name = null;
  }
}

const sampleIntervalMs = 250;

/** Runs `action` and measures memory meanwhile; processes outside this one's descent count when they name `directory`. */
export async function withPeakMemory<Value>(
  directory: string,
  action: () => Promise<Value>,
): Promise<{ value: Value; peakBytes: number }> {
  let peakBytes = 0;
  let sampling: Promise<void> | undefined;
  const sample = async () => {
    peakBytes = Math.max(peakBytes, await residentBytes(directory));
  };
  const timer = setInterval(() => {
    sampling ??= sample().finally(() => {
      sampling = undefined;
    });
  }, sampleIntervalMs);
  try {
    return { value: await action(), peakBytes };
  } finally {
    clearInterval(timer);
    await sampling;
  }
}

async function residentBytes(directory: string): Promise<number> {
  const pageBytes = 4096;
  const processes = new Map<number, { parent: number; bytes: number; named: boolean }>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const [stat, memory, command] = await Promise.all(
      ['stat', 'statm', 'cmdline'].map((file) => readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '')),
    );
    const [, parent] = (stat ?? '').slice((stat ?? '').lastIndexOf(')') + 2).split(' ');
    const [, pages] = (memory ?? '').split(' ');
    processes.set(Number(name), {
      parent: Number(parent ?? 0),
      bytes: Number(pages ?? 0) * pageBytes,
      named: (command ?? '').includes(directory),
    });
  }
  const counts = (id: number): boolean => {
    if (id === process.pid) return true;
    const entry = processes.get(id);
    return entry !== undefined && entry.parent !== 0 && (entry.named || counts(entry.parent));
  };
  let sum = 0;
  for (const [id, { bytes }] of processes) if (id !== process.pid && counts(id)) sum += bytes;
  return sum;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The median of each step over all rounds. */
export function medianSteps(rounds: readonly Measurement[]): Steps {
  const names = new Set(rounds.flatMap((round) => [...round.steps.keys()]));
  return new Map([...names].map((name) => [name, median(rounds.map((round) => round.steps.get(name) ?? 0))]));
}
