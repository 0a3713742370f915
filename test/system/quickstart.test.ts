import { chmod, cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { reach } from '../../lab/reach.ts';
import { asNobody } from './other-user.ts';

/** The quickstart and its set-up as a user who is not root, in a clone of root's. */

const root = join(import.meta.dirname, '..', '..');

async function runAsNobody(words: readonly string[]): Promise<string> {
  const [program = '', ...more] = [...reach(root), ...asNobody, process.execPath, ...words];
  const { stdout, stderr } = await exec(program, more, { cwd: root, okExitCodes: [1] });
  return stdout + stderr;
}

test('a user who may not write to the clone reads so, and of no log that is not there', async () => {
  const output = await runAsNobody(['quickstart/main.ts']);
  assert.match(output, /That did not work: this user may not write to \S+quickstart; /);
  assert.not.match(output, /needs root|The log of the service/);
});

test('the set-up names the folder that a user may not write to, and what to do', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-foreign-'));
  try {
    await chmod(directory, 0o755);
    for (const name of ['scripts', 'package.json', 'package-lock.json']) {
      await cp(join(root, name), join(directory, name), { recursive: true });
    }
    const output = await runAsNobody([join(directory, 'scripts/bootstrap.mjs'), 'bin/imagebuilder.ts']);
    assert.match(output, `This user may not write to ${join(directory, '.cache')}. Please run this as the owner of`);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
