import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';

/** The check for leftovers, while the tests of a neighbour run. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-leaks-'));
const own = join(directory, 'own');
const neighbour = join(directory, 'neighbour');
for (const folder of [own, neighbour]) await mkdir(folder);
test.after(() => rm(directory, { recursive: true }));

/** The leftovers that the check finds, in words; empty where it finds none. */
const left = async (check: Promise<void>) => await check.then(() => '', String);

for (const [what, options] of [
  ['a process by its folder', { cwd: own, env: {} }],
  ['a process by its environment', { cwd: '/', env: { TMPDIR: own } }],
] as const) {
  test(`finds ${what}, in its own folder alone`, async () => {
    const before = await observe(own, { parentId: null });
    const beforeNeighbour = await observe(neighbour, { parentId: null });
    const child = spawn('/bin/sleep', ['600'], options);
    await once(child, 'spawn');
    assert.match(await left(assertNothingLeft(before, { waitMs: 0 })), `process ${child.pid}`);
    await assertNothingLeft(beforeNeighbour, { waitMs: 0 });
    child.kill('SIGKILL');
    await once(child, 'exit');
    await assertNothingLeft(before);
  });
}

test('finds every process that has been started from this one, or none of them', async () => {
  const all = await observe(own);
  const named = await observe(own, { parentId: null });
  const child = spawn('/bin/sleep', ['600'], { cwd: '/', env: {} });
  await once(child, 'spawn');
  assert.match(await left(assertNothingLeft(all, { waitMs: 0 })), `process ${child.pid}`);
  await assertNothingLeft(named, { waitMs: 0 });
  child.kill('SIGKILL');
  await once(child, 'exit');
});

test('finds a mount, a loop device and a file in its own folder alone', async () => {
  const before = await observe(own);
  const beforeNeighbour = await observe(neighbour);
  const file = join(own, 'disk');
  await writeFile(file, Buffer.alloc(2 ** 20));
  const mounted = join(own, 'mounted');
  await mkdir(mounted);
  await exec('mount', ['-t', 'tmpfs', 'tmpfs', mounted]);
  const device = (await exec('losetup', ['--find', '--show', file])).stdout.trim();
  const found = await left(assertNothingLeft(before, { waitMs: 0, emptyFolders: [own] }));
  for (const leftover of [`mount ${mounted}`, `loop device ${device.replace('/dev/', '')}`, `file ${file}`]) {
    assert.match(found, leftover);
  }
  await assertNothingLeft(beforeNeighbour, { emptyFolders: [neighbour] });
  await exec('losetup', ['--detach', device]);
  await exec('umount', [mounted]);
  for (const path of [file, mounted]) await rm(path, { recursive: true });
  await assertNothingLeft(before, { emptyFolders: [own] });
});

test.run();
