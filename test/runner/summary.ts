/** Counts tests from the output of uvu at the end of a file. */

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const noTests: Counts = { passed: 0, failed: 0, skipped: 0 };

/**
 * Exit code of a program that has checked nothing, or not everything, and has printed why. As in Automake's test
 * suites.
 */
export const skippedExitCode = 77;

export function add(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** How a test file ended: `exitCode` is null when it was killed, for instance because its time was up. */
export interface FileEnd {
  readonly output: string;
  readonly exitCode: number | null;
}

/**
 * The counts of one test file. A file that ends well without a summary, or whose summary counts no test at all, has
 * failed, and so has one that ends badly although every test passed (something broke after them). uvu exits with 0 when
 * a `before` hook throws, so a test that neither passed nor was skipped counts as failed whatever the exit code.
 */
export function countTests({ output, exitCode }: FileEnd): Counts {
  const number = (name: string) => {
    const matches = [...output.matchAll(new RegExp(`^ {2}${name}: +(\\d+)$`, 'gm'))];
    const last = matches.at(-1)?.[1];
    return last === undefined ? null : Number(last);
  };
  const total = number('Total');
  const passed = number('Passed');
  const skipped = number('Skipped');
  if (total === null || passed === null || skipped === null) return { ...noTests, failed: 1 };
  const failed = total - passed;
  const silent = failed === 0 && (exitCode !== 0 || total + skipped === 0);
  return { passed, failed: silent ? 1 : failed, skipped };
}

/** The counts of a program that counts as one test. */
export function countProgram(exitCode: number | null): Counts {
  if (exitCode === 0) return { ...noTests, passed: 1 };
  return exitCode === skippedExitCode ? { ...noTests, skipped: 1 } : { ...noTests, failed: 1 };
}

/** The last line of a run: `12 passed, 0 failed`, with `, 1 skipped` when there are any. */
export function summaryLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
