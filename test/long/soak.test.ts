import { join } from 'node:path';
import { test } from 'uvu';
import { exec } from '#lib/exec.ts';

/** The soak with a random seed. Its output, with the seed, is printed where it fails. */

test('of 150 submissions none is lost or doubled, and nothing is left, whatever breaks meanwhile', async () => {
  const cwd = join(import.meta.dirname, '../..');
  await exec(process.execPath, ['soak/main.ts', '--builds', '150', '--minutes', '20'], {
    ...{ cwd, onLine: (line: string) => console.log(line) },
    env: { PATH: process.env.PATH ?? '', TMPDIR: process.env.TMPDIR ?? '/tmp' },
  });
});

test.run();
