import { globSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExecError, exec } from '#lib/exec.ts';
import { dependentsOf, importsOf } from './runner/imports.ts';

/**
 * node test/watch.ts
 *
 * Runs the unit tests that a changed file concerns, whenever one changes, until Ctrl-C. These are the tests that import
 * it, directly or not; all of them for any other file.
 */

const root = dirname(import.meta.dirname);
const folders = [
  'bench',
  'bin',
  'docs',
  'functions',
  'lab',
  'lib',
  'quickstart',
  'scripts',
  'soak',
  'template',
  'test',
];
const watchedName = /\.(ts|mjs|sh|pl|md|json|yml)$/;
/** Editors and Git change several files at once. */
const settleMs = 100;

const stopped = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stopped.abort());

const changed = new Set<string>();
let changes = Promise.withResolvers<void>();
for (const folder of folders) {
  watch(join(root, folder), { recursive: true, signal: stopped.signal }, (_, name) => {
    if (name === null || !watchedName.test(name)) return;
    changed.add(join(folder, name));
    changes.resolve();
  });
}
stopped.signal.addEventListener('abort', () => changes.resolve());

console.log(`Unit tests run when a file changes in ${folders.join(', ')}; Ctrl-C ends this.`);
while (!stopped.signal.aborted) {
  await changes.promise;
  await sleep(settleMs);
  changes = Promise.withResolvers<void>();
  const files = [...changed];
  changed.clear();
  if (!stopped.signal.aborted) await runTests(files);
}

async function runTests(files: readonly string[]): Promise<void> {
  const sources = globSync(
    folders.map((folder) => `${folder}/**/*.ts`),
    { cwd: root },
  );
  const graph = new Map(sources.map((file) => [file, importsOf(root, file)]));
  const isTest = (file: string) => file.startsWith('test/unit/') && file.endsWith('.test.ts');
  const tests = files.every((file) => file.endsWith('.ts')) ? [...dependentsOf(graph, files)].filter(isTest) : [];
  const all = tests.length === 0 && !files.every((file) => file.endsWith('.ts'));
  console.log(`\n${files.join(' ')}: ${all ? 'all unit tests' : `${tests.length} of the unit tests`}`);
  if (tests.length === 0 && !all) return;
  const { signal } = stopped;
  await exec(process.execPath, ['test/run.ts', 'unit', ...tests], {
    ...{ cwd: root, env: { NO_COLOR: '1' }, signal, onLine: (line: string) => console.log(line) },
  }).catch((error: unknown) => {
    if (!(error instanceof ExecError) && !signal.aborted) throw error;
  });
}
