import { ImageBuilderError } from '#lib/errors.ts';
import { ProblemError } from '../../../template/node24-ts/problem.ts';

/**
 * Measures how the work of a parser grows with its input. Seconds mean nothing on a busy machine. The growth of
 * processor time from n to 4n characters does: fourfold where the work is linear, sixteenfold where it is quadratic.
 */

/** Texts that parsers stumble over when they are repeated. */
const hostile = [
  ...' \t/\n\\a:,="%0.#-\r_<[(~\0\'',
  ...[' a', 'a ', 'a\n', '\n ', ':a', '0.', '\x1b[', '://', ' /', '\u00e9', '[]'],
];
const endings = ['', 'x'];

/** Characters. Growth up to the usual size shows most faults; the larger sizes follow only where it looks wrong. */
const sizes = [2 ** 12, 2 ** 14, 2 ** 16, 2 ** 18, 2 ** 20];
const usualSize = 2 ** 16;
/** The kernel's resolution of processor time. Shorter times count as this. */
const leastMs = 4;
const allowedGrowth = 8;
/**
 * With less than this at the second size, even a quadratic parser stays below what is allowed at the usual size, which
 * is then left out: 16 times 2 ms are 8 times 4 ms.
 */
const negligibleMs = 2;
/** How often a growth that looks wrong is measured again: a garbage collection disturbs one time, not each. */
const repeats = 2;
/**
 * Growth counts from here on. Below, fresh memory and the first collections can cost more than the parser itself, each
 * time alike, where page faults take long. A quadratic parser gets here within the sizes: it takes sixteenfold longer
 * at each.
 */
const decisiveMs = 200;

export interface Growing {
  readonly name: string;
  /** Any error but an ImageBuilderError or a ProblemError is a fault. */
  readonly run: (text: string) => unknown;
  /** Text before and after the hostile text, to lead it deeper into the parser. */
  readonly frames?: readonly (readonly [before: string, after: string])[];
  /** More texts to repeat: those that have a meaning for this parser. */
  readonly units?: readonly string[];
}

/** The first input for which the work of a parser grows faster than the input; null where there is none. */
export async function findGrowth({ run, frames = [], units = [] }: Growing): Promise<string | null> {
  for (const [before, after] of [['', ''], ...frames] as const) {
    for (const unit of [...hostile, ...units]) {
      for (const ending of endings) {
        const input = (size: number) => before + unit.repeat(Math.ceil(size / unit.length)) + ending + after;
        const why = await growthOf(run, input);
        if (why !== null) return `${JSON.stringify(input(unit.length * 3))}…: ${why}`;
      }
    }
  }
  return null;
}

async function growthOf(run: Growing['run'], input: (size: number) => string): Promise<string | null> {
  let smallerMs = Number.POSITIVE_INFINITY;
  const grows = (ms: number) => ms > allowedGrowth * Math.max(leastMs, smallerMs);
  for (const [index, size] of sizes.entries()) {
    const text = input(size);
    const startedMs = performance.now();
    let ms = await timeOf(run, text);
    if (index > 0 && performance.now() - startedMs < negligibleMs) return null;
    const smaller = input(sizes[index - 1] ?? 0);
    let againMs = Number.POSITIVE_INFINITY;
    // A disturbance of the smaller text hides growth as well as one of the larger feigns it: what takes long is measured twice.
    const isInQuestion = (count: number) => grows(ms) || (count === 0 && index > 0 && ms >= decisiveMs);
    for (let count = 0; count < repeats && isInQuestion(count); count += 1) {
      againMs = Math.min(againMs, await timeOf(run, smaller));
      smallerMs = againMs;
      ms = Math.min(ms, await timeOf(run, text));
    }
    const looksWrong = grows(ms);
    if (looksWrong && ms >= decisiveMs)
      return `${smallerMs.toFixed(2)} ms for a quarter of it, ${ms.toFixed(2)} ms for ${size} characters`;
    if (!looksWrong && size >= usualSize) return null;
    smallerMs = ms;
  }
  return null;
}

/** Processor time of this thread alone, so that other processes on the machine hardly matter. */
async function timeOf(run: Growing['run'], text: string): Promise<number> {
  const before = process.threadCpuUsage();
  try {
    await run(text);
  } catch (error) {
    if (!(error instanceof ImageBuilderError || error instanceof ProblemError)) throw error;
  }
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}
