import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { newUnprivilegedUser } from '#lib/privileges.ts';
import { closedFolder, endProcesses, giveTo, readForeignFile, whyToolsStayRoot } from '#lib/unprivileged.ts';
import { assertUnprivileged, unprivilegedIds } from './unprivileged.ts';

/** Tools of a worker that is root, as another user. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-unprivileged-'));
test.after(() => rm(directory, { recursive: true }));

const user = newUnprivilegedUser(unprivilegedIds);
assert.ok(user);

test('a tool of another user has no rights, and dies with the worker all the same', async () => {
  const library = join(import.meta.dirname, '../../lib');
  const worker = `
    import { exec } from '${library}/exec.ts';
    const user = { id: ${user.id}, groups: [] };
    await exec('sh', ['-c', 'echo $$; exec sleep 600'], { user, onLine: (line) => console.log(line) });`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', worker], { stdio: ['ignore', 'pipe', 2] });
  assert.ok(child.stdout);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const id = Number(line.toString());
  assert.is(await assertUnprivileged(id), user.id);
  child.kill('SIGKILL');
  await once(child, 'exit');
  while (await isThere(id)) await sleep(10);
});

async function isThere(id: number): Promise<boolean> {
  const state = await promisify(execFile)('ps', ['-o', 'stat=', '-p', String(id)]).catch(() => ({ stdout: 'Z' }));
  return !state.stdout.startsWith('Z');
}

test('of a user nothing is left running, whatever it has done to stay', async () => {
  const stay = 'trap "" TERM HUP; setsid sh -c "trap \\"\\" TERM; echo \\$\\$; exec >/dev/null; sleep 600; :" & wait';
  const ended = new AbortController();
  let id = 0;
  const run = exec('sh', ['-c', stay], {
    user,
    onLine: (line) => {
      id = Number(line);
      ended.abort(new Error('enough'));
    },
    signal: ended.signal,
  });
  assert.match(String(await run.catch((error: unknown) => error)), 'enough');
  assert.ok(await isThere(id));
  await endProcesses(user);
  while (await isThere(id)) await sleep(10);
});

test('a folder is given away whole, and links in it lead to nothing that is given with them', async () => {
  const given = join(directory, 'given');
  await mkdir(join(given, 'below'), { recursive: true });
  await writeFile(join(directory, 'canary'), '');
  await symlink(join(directory, 'canary'), join(given, 'below', 'link'));
  await giveTo(user, given);
  for (const path of ['given', 'given/below', 'given/below/link']) {
    assert.is((await lstat(join(directory, path))).uid, user.id, path);
  }
  assert.is((await lstat(join(directory, 'canary'))).uid, 0);
  // One in the place of the folder itself.
  await mkdir(join(directory, 'other'));
  await writeFile(join(directory, 'other', 'canary'), '');
  await symlink(join(directory, 'other'), join(given, 'other'));
  await giveTo(user, join(given, 'other'));
  assert.is((await lstat(join(directory, 'other', 'canary'))).uid, 0);
});

test('it is known where a folder above keeps such a user out', async () => {
  const closed = join(directory, 'closed');
  await mkdir(join(closed, 'below'), { recursive: true });
  await chmod(directory, 0o711);
  await chmod(closed, 0o700);
  assert.is(await closedFolder(join(closed, 'below', 'not there', 'build')), closed);
  assert.match(
    (await whyToolsStayRoot(unprivilegedIds, join(closed, 'work'))) ?? '',
    `cannot search ${closed}: chmod o+x`,
  );
  await chmod(closed, 0o711);
  assert.is(await whyToolsStayRoot(unprivilegedIds, join(closed, 'work')), null);
});

test('a file of such a user is read as a regular file, or not at all', async () => {
  const folder = join(directory, 'left');
  await mkdir(folder);
  await giveTo(user, folder);
  await writeFile(join(directory, 'secret'), 'root’s', { mode: 0o600 });
  await chmod(directory, 0o711);
  await exec(
    'sh',
    ['-c', 'ln -s "$1" link; mkfifo pipe; mkdir folder; echo text >file', 'sh', join(directory, 'secret')],
    {
      user,
      cwd: folder,
    },
  );
  assert.is((await readForeignFile(join(folder, 'file'), 5)).toString(), 'text\n');
  for (const [name, maximumBytes] of [
    ['file', 4],
    ['link', 100],
    ['pipe', 100],
    ['folder', 100],
  ] as const) {
    const error: unknown = await readForeignFile(join(folder, name), maximumBytes).catch((thrown: unknown) => thrown);
    assert.instance(error, ImageBuilderError, String(error));
    assert.is((error as ImageBuilderError).code, 'tool.failed');
  }
});

test.run();
