import { chmod, glob, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ExecError, exec } from '#lib/exec.ts';
import { assertNothingLeft, type Observation, observe } from '../lab/leaks.ts';
import { reach, whyUnreadable } from '../lab/reach.ts';
import { lanes, planLanes } from './runner/lanes.ts';
import { add, type Counts, countProgram, countTests, noTests, summaryLine } from './runner/summary.ts';

/**
 * node test/run.ts [check] [unit] [system] [long] [filter …]
 *
 * Runs the checks (types, formatter, linters), the unit tests and the system tests; all three when none is named. Tests
 * that take too long for every change, and the system tests that have such variants, run only where `long` is named. A
 * filter is a part of a test file's path or of a check's name; of several whole paths, each file runs. Every file runs in
 * a process of its own, so that a hang or a leak in one cannot hide in another. Most files run side by side
 * (test/runner/lanes.ts names the others). The last line is `N passed, N failed`, and the exit code is 0 only when
 * nothing failed.
 *
 * System tests break real servers on a machine that other users may keep busy. Where at most three of their files fail,
 * these run once more at the end; those that then pass count as passed, and are named, with what failed at first, as
 * unsteady.
 */

const root = dirname(import.meta.dirname);
const kinds = ['check', 'unit', 'system', 'long'] as const;
type Kind = (typeof kinds)[number];

const MINUTE = 60_000;
/** A file that takes longer than this hangs: unit files take seconds, a system file boots machines at worst. */
const timeLimitMs: Readonly<Record<Kind, number>> = {
  check: 10 * MINUTE,
  unit: 3 * MINUTE,
  system: 20 * MINUTE,
  long: 90 * MINUTE,
};
const maximumSecondTries = 3;

/** These start servers, and mount and open images; where they do not clean up, the machine keeps it. */
const usesMachine = (kind: Kind): boolean => kind === 'system' || kind === 'long';
const isKind = (word: string): word is Kind => (kinds as readonly string[]).includes(word);
const words = process.argv.slice(2);
const chosen = words.some(isKind) ? words.filter(isKind) : kinds.filter((kind) => kind !== 'long');
const filters = words.filter((word) => !isKind(word));

const isTestFile = (word: string): boolean => word.startsWith('test/') && word.endsWith('.test.ts');
const namedFiles = filters.filter(isTestFile);
const matches = (name: string): boolean =>
  (namedFiles.length === 0 || namedFiles.includes(name)) &&
  filters.every((filter) => isTestFile(filter) || name.includes(filter));

/** Names of checks, each with the program that does it and its arguments. */
const checks = [
  ['types (tsc)', 'node_modules/typescript/bin/tsc', '-p', '.'],
  ['types of the live page', 'node_modules/typescript/bin/tsc', '-p', 'functions/status/page'],
  ['format and lint (biome)', 'node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'],
  ['lint of scripts (shellcheck, perl)', 'test/runner/lint-scripts.ts'],
  ['lint of spelling (hunspell)', 'test/runner/lint-spelling.ts'],
] as const;

// Tests make files that other users read, also where the shell's umask is 077.
process.umask(0o022);

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interrupted.abort(new Error(`stopped by ${signal}`)));
}

let counts = noTests;
const unreadable = chosen.some(usesMachine) ? whyUnreadable(root) : null;
if (unreadable !== null) {
  console.log(`${unreadable}\n\n${summaryLine({ ...noTests, failed: 1 })}`);
  process.exit(1);
}
const failures: string[] = [];
const unsteady: string[] = [];
if (chosen.includes('check')) {
  for (const [name, ...command] of checks.filter(([name]) => matches(name))) await runProgram(name, command);
}
for (const kind of ['unit', 'system', 'long'] as const) {
  if (!chosen.includes(kind)) continue;
  const files = await testFiles(kind);
  const { sideBySide, oneByOne } = planLanes(files);
  const failed: FileRun[] = [];
  const runAll = async (open: string[]) => {
    for (let file = open.shift(); file !== undefined && !interrupted.signal.aborted; file = open.shift()) {
      const run = await runFile(file, kind);
      print(run);
      if (run.counts.failed === 0) count(run);
      else failed.push(run);
    }
  };
  const open = [...sideBySide];
  await Promise.all(Array.from({ length: lanes }, () => runAll(open)));
  await runAll([...oneByOne]);
  if (kind === 'system' && failed.length <= maximumSecondTries) await tryAgain(failed);
  else for (const run of failed) count(run);
}
if (interrupted.signal.aborted) {
  console.log('Stopped before the end.');
  counts = add(counts, { ...noTests, failed: 1 });
}
if (counts.passed + counts.failed + counts.skipped === 0) {
  console.log(`No check or test file matches ${filters.join(' ')}.`);
  counts = add(counts, { ...noTests, failed: 1 });
}
// Again, for readers of only the end of an hour's output.
if (unsteady.length > 0) console.log(`\nFailed at first, passed alone:\n${unsteady.join('\n')}`);
if (failures.length > 0) console.log(`\n${failures.join('\n')}`);
console.log(`\n${summaryLine(counts)}`);
process.exitCode = counts.failed === 0 ? 0 : 1;

/** Of the long kind are also the system tests with variants that take long. */
async function testFiles(kind: Kind): Promise<string[]> {
  const found = await Array.fromAsync(glob(`test/${kind}/**/*.test.ts`, { cwd: root }));
  if (kind === 'long') {
    for await (const file of glob('test/system/**/*.test.ts', { cwd: root })) {
      if ((await readFile(join(root, file), 'utf8')).includes("/runner/long.ts'")) found.push(file);
    }
  }
  return found.filter(matches).sort();
}

interface FileRun {
  readonly name: string;
  readonly seconds: number;
  readonly counts: Counts;
  readonly output: string;
}

async function runFile(file: string, kind: Kind): Promise<FileRun> {
  // A temporary folder of its own shows the leftovers of a file.
  const directory = await mkdtemp(join(tmpdir(), 'ib-'));
  // The mode of /tmp: tests that need no privileges run as a user without any.
  await chmod(directory, 0o1777);
  // Other files that this process has started are none of this file's leftovers.
  const before = usesMachine(kind) ? await observe(directory, { parentId: null }) : null;
  const result = await runNode(kind, ['--import', './test/runner/seed.ts', file], {
    TMPDIR: directory,
    // A fourth of the processor time of unit tests, and a tenth of that of the others, went into compiling the same
    // modules again, in each file and in each process that it starts.
    NODE_COMPILE_CACHE: join(root, '.cache/node-compile'),
    ...(kind === 'long' ? { TEST_LONG: '1' } : {}),
  });
  const left = before === null ? null : await findLeft(before, directory);
  // Leftovers may be mounted below the folder, so it is not removed then.
  if (left === null) await rm(directory, { recursive: true, force: true });
  const leaked = left === null ? noTests : { ...noTests, failed: 1 };
  return {
    ...{ name: file, seconds: result.seconds, counts: add(countTests(result), leaked) },
    output: `${result.output}\n${left ?? ''}`,
  };
}

async function tryAgain(failed: readonly FileRun[]): Promise<void> {
  for (const first of failed) {
    const second = interrupted.signal.aborted ? first : await runFile(first.name, 'system');
    if (second !== first) print(second);
    count(second);
    if (second.counts.failed === 0) unsteady.push(lineOf(first));
  }
}

/** The leftovers of a system test on this machine, in words; null where there are none. */
async function findLeft(before: Observation, directory: string): Promise<string | null> {
  return await assertNothingLeft(before, { emptyFolders: [directory] }).then(
    () => null,
    (error: Error) => error.message,
  );
}

/** A program counts as one test. */
async function runProgram(name: string, command: readonly string[]): Promise<void> {
  if (interrupted.signal.aborted) return;
  const { exitCode, output, seconds } = await runNode('check', command);
  const run = { name, seconds, counts: countProgram(exitCode), output };
  print(run);
  count(run);
}

interface NodeRun {
  readonly exitCode: number | null;
  /** Both streams, in the order in which their lines came. */
  readonly output: string;
  readonly seconds: number;
}

async function runNode(kind: Kind, args: readonly string[], extra: Record<string, string> = {}): Promise<NodeRun> {
  const started = performance.now();
  const lines: string[] = [];
  const env = Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => !!entry[1]));
  const [program = '', ...words] = [...(usesMachine(kind) ? reach(root) : []), process.execPath, ...args];
  const exitCode = await exec(program, words, {
    cwd: root,
    // `node` in tests is the Node of this project.
    env: { ...env, PATH: `${dirname(process.execPath)}:${env.PATH ?? ''}`, NO_COLOR: '1', ...extra },
    timeoutMs: timeLimitMs[kind],
    signal: interrupted.signal,
    onLine: (line) => lines.push(line),
  }).then(
    (result) => result.exitCode,
    (error: unknown) => {
      if (!(error instanceof ExecError)) {
        if (!interrupted.signal.aborted) throw error;
      } else if (error.exitCode === undefined) lines.push(error.message);
      return error instanceof ExecError ? (error.exitCode ?? null) : null;
    },
  );
  return { exitCode, output: lines.join('\n'), seconds: (performance.now() - started) / 1000 };
}

function lineOf({ name, seconds, counts }: FileRun): string {
  const end = counts.failed > 0 ? 'FAIL' : counts.passed > 0 ? 'ok  ' : 'skip';
  return `${end} ${name}  ${seconds.toFixed(1)} s  ${summaryLine(counts)}`;
}

function print(run: FileRun): void {
  console.log(lineOf(run));
  if (run.counts.failed > 0 || run.counts.passed === 0) console.log(run.output.replace(/^/gm, '     | '));
}

function count(run: FileRun): void {
  counts = add(counts, run.counts);
  if (run.counts.failed > 0) failures.push(lineOf(run));
}
