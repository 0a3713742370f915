import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pause } from '#lib/async.ts';
import { exec } from '#lib/exec.ts';

/** The set-up of a clone that is interrupted while npm waits for a registry. */

const entry = 'entry.mjs';

interface Clone extends AsyncDisposable {
  /** Resolves when npm has asked the registry for a package, with the end of that connection. */
  asked(): Promise<{ readonly gone: Promise<unknown> }>;
  /** Has the registry answer: there is no such package. */
  answer(): void;
  start(stderr: 'ignore' | 'pipe'): ReturnType<typeof spawn>;
  /** Whether some process holds the lock of the set-up. */
  isLocked(): Promise<boolean>;
}

async function openClone(): Promise<Clone> {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-setup-'));
  const answered = Promise.withResolvers<void>();
  const registry = createServer((_request, response) => {
    void answered.promise.then(() => response.writeHead(404).end());
  }).listen(0, '127.0.0.1');
  await once(registry, 'listening');
  await cp(join(import.meta.dirname, '../../../scripts'), join(root, 'scripts'), { recursive: true });
  const dependencies = { absent: '1.0.0' };
  const integrity = `sha512-${Buffer.alloc(64).toString('base64')}`;
  const packages = { '': { dependencies }, 'node_modules/absent': { version: '1.0.0', integrity } };
  await writeFile(join(root, 'package.json'), JSON.stringify({ dependencies }));
  await writeFile(join(root, 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }));
  await writeFile(join(root, entry), '');
  const { port } = registry.address() as AddressInfo;
  const settings = [`registry=http://127.0.0.1:${port}/`, `cache=${join(root, 'npm-cache')}`, 'fetch-retries=0'];
  await writeFile(join(root, '.npmrc'), settings.join('\n'));
  return {
    async asked() {
      const [request] = (await once(registry, 'request')) as [IncomingMessage];
      return { gone: once(request.socket, 'close') };
    },
    answer: answered.resolve,
    start: (stderr) =>
      spawn(process.execPath, ['scripts/bootstrap.mjs', entry], { cwd: root, stdio: ['ignore', 'ignore', stderr] }),
    async isLocked() {
      const lock = join(root, '.cache/setup.lock');
      return (await exec('flock', ['--nonblock', lock, 'true'], { okExitCodes: [0, 1] })).exitCode === 1;
    },
    async [Symbol.asyncDispose]() {
      registry.closeAllConnections();
      registry.close();
      await rm(root, { recursive: true });
    },
  };
}

test('npm keeps the lock of a set-up that is killed, so that the next one waits for it', async () => {
  await using clone = await openClone();
  const first = clone.start('ignore');
  await clone.asked();
  first.kill('SIGKILL');
  await once(first, 'close');
  assert.ok(await clone.isLocked());
  const second = clone.start('ignore');
  clone.answer();
  assert.equal(await once(second, 'close'), [1, null]);
  assert.not.ok(await clone.isLocked());
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  test(`${signal} to a set-up ends its npm`, async () => {
    await using clone = await openClone();
    const setup = clone.start('ignore');
    const { gone } = await clone.asked();
    setup.kill(signal);
    assert.equal(await once(setup, 'close'), [null, signal]);
    await gone;
    assert.not.ok(await clone.isLocked());
  });
}

test('a set-up whose reader has gone ends its npm', async () => {
  await using clone = await openClone();
  const setup = clone.start('pipe');
  setup.stderr?.destroy();
  assert.equal(await once(setup, 'close'), [141, null]);
  while (await clone.isLocked()) await pause(20);
});

test('a signal ends the wait for the set-up of another process', async () => {
  await using clone = await openClone();
  const first = clone.start('ignore');
  await clone.asked();
  const second = clone.start('ignore');
  await pause(300);
  second.kill('SIGTERM');
  assert.equal(await once(second, 'close'), [null, 'SIGTERM']);
  clone.answer();
  await once(first, 'close');
});

test.run();
