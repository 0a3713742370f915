import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import { exec } from '#lib/exec.ts';

/** The property tests with other cases in each run, where `.ci/run` always try the same ones. */

const root = join(import.meta.dirname, '../..');
const runs = 20;

for (const file of (await Array.fromAsync(glob('test/{unit,system}/**/*.test.ts', { cwd: root }))).sort()) {
  if (!/fast-check|holds\.ts/.test(await readFile(join(root, file), 'utf8'))) continue;
  test(`${file}, ${runs} times with random seeds`, async () => {
    for (let run = 0; run < runs; run += 1) {
      // A failure prints the seed, and the smallest case that fails.
      await exec(process.execPath, ['--import', './test/runner/seed.ts', file], {
        ...{ cwd: root, onLine: (line: string) => console.log(line) },
        env: { PATH: process.env.PATH ?? '', TMPDIR: process.env.TMPDIR ?? '/tmp', SEED: 'random', NO_COLOR: '1' },
      });
    }
  });
}

test.run();
