import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withMachine } from './with-machine.ts';

/** Processes of this machine in a control group with this name in its path. */
async function processesIn(group: string): Promise<string[]> {
  const found: string[] = [];
  for (const id of (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))) {
    const path = await readFile(join('/proc', id, 'cgroup'), 'utf8').catch(() => '');
    if (path.split('\n').some((line) => line.split('/').includes(group))) found.push(id);
  }
  return found;
}

withMachine('a machine with systemd ends with the process that has started it, also when that is killed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-machine-'));
  const child = execa(process.execPath, [join(import.meta.dirname, 'machine-owner.ts'), directory], { reject: false });
  const group = `imagebuilder-${child.pid}`;
  try {
    await once(createInterface({ input: child.stdout }), 'line');
    assert.ok((await processesIn(group)).length > 1);
    child.kill('SIGKILL');
    await child;
    const until = Date.now() + 20_000;
    while ((await processesIn(group)).length > 0 && Date.now() < until) await sleep(100);
    assert.equal(await processesIn(group), []);
    // The shell around it removes its groups, and ends.
    const shells = async () => (await execa('pgrep', ['--full', `machine ${group}`], { reject: false })).stdout;
    while ((await shells()) !== '' && Date.now() < until) await sleep(100);
    assert.is(await shells(), '');
  } finally {
    child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
