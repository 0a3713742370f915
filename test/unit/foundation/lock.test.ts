import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lock, tryLock, tryLockFolder } from '#lib/lock.ts';
import { failure } from '../../failure.ts';

let directory = '';
test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lock-'));
});
test.after(() => rm(directory, { recursive: true, force: true }));

test('a second taker waits until the first lets go', async () => {
  const path = join(directory, 'a', 'lock');
  const order: string[] = [];
  const first = await lock(path);
  const second = lock(path).then(async (held) => {
    order.push('second');
    await held[Symbol.asyncDispose]();
  });
  await sleep(100);
  order.push('first lets go');
  await first[Symbol.asyncDispose]();
  await second;
  assert.equal(order, ['first lets go', 'second']);
});

test('shared locks are held together', async () => {
  const path = join(directory, 'shared');
  const one = await lock(path, { shared: true });
  const other = await lock(path, { shared: true });
  await one[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

test('an abort ends the wait with its reason', async () => {
  const path = join(directory, 'abort');
  const held = await lock(path);
  const abort = new AbortController();
  const waiting = lock(path, { signal: abort.signal });
  const reason = new Error('no longer wanted');
  setTimeout(() => abort.abort(reason), 50);
  try {
    await waiting;
    assert.unreachable();
  } catch (error) {
    assert.is(error, reason);
  }
  await held[Symbol.asyncDispose]();
});

test('an abort after the lock was taken does not let go of it', async () => {
  const path = join(directory, 'kept');
  const abort = new AbortController();
  const held = await lock(path, { signal: abort.signal });
  abort.abort();
  const order: string[] = [];
  const second = lock(path).then(async (other) => {
    order.push('second');
    await other[Symbol.asyncDispose]();
  });
  await sleep(100);
  order.push('first lets go');
  await held[Symbol.asyncDispose]();
  await second;
  assert.equal(order, ['first lets go', 'second']);
});

test('a lock that is held is not waited for where that is not wanted', async () => {
  const path = join(directory, 'tried');
  const held = await tryLock(path);
  assert.is(await tryLock(path), null);
  await held?.[Symbol.asyncDispose]();
  const again = await tryLock(path);
  assert.ok(again);
  await again?.[Symbol.asyncDispose]();
});

test('the lock of a folder is held like any other, and trying that of one that is gone makes nothing of its name', async () => {
  const path = join(directory, 'folder');
  assert.is(await tryLockFolder(path), null);
  assert.is(existsSync(path), false);
  await mkdir(path);
  const held = await tryLockFolder(path);
  assert.ok(held);
  assert.is(await tryLockFolder(path), null);
  assert.is(await tryLock(path), null);
  await held?.[Symbol.asyncDispose]();
});

const helpers = async () => (await readFile(`/proc/self/task/${process.pid}/children`, 'utf8')).trim().split(' ');

test('a process that has held a lock holds the next one, also when it was killed meanwhile', async () => {
  const path = join(directory, 'again');
  const release = async (held: AsyncDisposable) => await held[Symbol.asyncDispose]();
  await release(await lock(path));
  const before = await helpers();
  for (let count = 0; count < 5; count += 1) {
    const other = await lock(join(directory, 'other'), { shared: true });
    assert.is((await helpers()).length, before.length);
    await release(other);
  }
  for (const id of before) process.kill(Number(id), 'SIGKILL');
  const held = await lock(path);
  assert.is(await tryLock(path), null);
  await release(held);
});

test('a lock that fails costs no process, and a path that cannot be one line is refused', async () => {
  const before = (await helpers()).length;
  for (let count = 0; count < 20; count += 1) {
    assert.is(await tryLockFolder(join(directory, 'missing')), null);
    assert.is((await failure(lock(join(directory, 'a\nb')))).code, 'tool.failed');
  }
  assert.ok((await helpers()).length <= before + 1);
});

test('the lock of a process that is killed is free', async () => {
  const path = join(directory, 'killed');
  const script = `const { lock } = await import('#lib/lock.ts'); await lock(${JSON.stringify(path)}); console.log('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGKILL');
  const held = await lock(path, { signal: AbortSignal.timeout(5000) });
  await held[Symbol.asyncDispose]();
});

test.run();
