import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';

test('a caller who lists a folder while a worker looks at it meets no file of that look', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'folder-script-'));
  const folder = join(directory, 'store');
  const seen = join(directory, 'seen');
  // In place of the program that writes the file.
  const head = join(directory, 'head');
  await writeFile(head, `#!/bin/sh\nls -A '${folder}' >'${seen}'\nexec /usr/bin/head "$@"\n`);
  await chmod(head, 0o755);
  await exec('mkdir', [folder]);
  const script = join(import.meta.dirname, '../../../lib/doctor/scripts/folder.sh');
  const { stdout } = await exec('sh', [script, folder], { env: { PATH: `${directory}:${process.env.PATH}` } });
  assert.match(stdout, /^writable yes$/m);
  assert.is(await readFile(seen, 'utf8'), '');
  assert.equal(await readdir(folder), []);
  await rm(directory, { recursive: true });
});

test.run();
