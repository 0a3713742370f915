import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { reach, whyUnreadable } from '../../lab/reach.ts';
import { asNobody } from './other-user.ts';

/** A clone below a folder that only root may enter, as a clone in /root is, and one that only root may read. */

let directory: string;
test.before(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'imagebuilder-reach-')));
});
test.after(() => rm(directory, { recursive: true }));

/** An open folder with files of a clone. */
async function makeClone(name: string): Promise<string> {
  const clone = join(directory, name, 'clone');
  for (const path of ['lib', 'bin', 'test', 'node_modules/execa']) await mkdir(join(clone, path), { recursive: true });
  for (const path of ['lib/exec.ts', 'node_modules/execa/package.json']) await writeFile(join(clone, path), '{}');
  return clone;
}

test('the user nobody reaches a clone below closed folders, and nobody else sees it there', async () => {
  const clone = await makeClone('closed');
  await chmod(join(directory, 'closed'), 0o700);
  const look = [...asNobody, 'cat', join(clone, 'lib/exec.ts')];
  const [program = '', ...words] = [...reach(clone), ...look];
  assert.is((await exec(program, words)).stdout, '{}');
  const outside = await exec('env', look, { okExitCodes: [1] });
  assert.match(outside.stderr, 'Permission denied');
  assert.is(whyUnreadable(clone), null);
});

test('a clone that only root may read is named, with the command that opens it', async () => {
  const clone = await makeClone('private');
  assert.is(whyUnreadable(clone), null);
  for (const path of ['.', 'lib', 'node_modules']) {
    const closed = join(clone, path);
    await chmod(closed, 0o700);
    assert.match(whyUnreadable(clone) ?? '', new RegExp(`may not read ${closed}; run .chmod -R go\\+rX ${clone}`));
    await chmod(closed, 0o755);
  }
  await chmod(join(clone, 'lib/exec.ts'), 0o600);
  await exec('chmod', ['-R', 'go+rX', clone]);
  assert.is(whyUnreadable(clone), null);
});

test.run();
