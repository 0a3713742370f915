import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { takeWorkerName } from '#lib/worker/worker-name.ts';

const module = new URL('../../../lib/worker/worker-name.ts', import.meta.url).href;

test('workers of one machine have names of their own, and one that starts again has its old name', async () => {
  const base = `host-${randomUUID()}`;
  await using first = await takeWorkerName(base);
  const second = await takeWorkerName(base);
  assert.equal([first.name, second.name], [`${base}-1`, `${base}-2`]);
  await second[Symbol.asyncDispose]();
  await using again = await takeWorkerName(base);
  assert.is(again.name, `${base}-2`);
  await using other = await takeWorkerName(`other-${base}`);
  assert.is(other.name, `other-${base}-1`);
});

test('the name of a worker that is killed is free, and a name does not keep a process from ending', async () => {
  const base = `${'long'.repeat(32)}-${randomUUID()}`;
  const script = (rest: string) =>
    `const { takeWorkerName } = await import(${JSON.stringify(module)});
     console.log((await takeWorkerName(${JSON.stringify(base)})).name); ${rest}`;
  const run = (rest: string) =>
    execa(process.execPath, ['--input-type=module', '--eval', script(rest)], { reject: false });
  const killed = run('setInterval(() => {}, 1_000)');
  const [line] = await once(killed.stdout, 'data');
  assert.is(String(line).trim(), `${base}-1`);
  assert.is((await run('')).stdout, `${base}-2`, 'it ends by itself');
  killed.kill('SIGKILL');
  await killed;
  await using next = await takeWorkerName(base);
  assert.is(next.name, `${base}-1`);
});

test.run();
