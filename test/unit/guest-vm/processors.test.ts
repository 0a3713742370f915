import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { chooseProcessors, idleMs, measureRoom, parseProcessors } from '#lib/guest/vm/processors.ts';

const never = new AbortController().signal;

test('an emulated vm has two processors where two are free, and one where they are not', () => {
  const count = (usable: number, free: number | null) => chooseProcessors(null, 'tcg', { usable, free }).count;
  assert.is(count(2, 1.9), 2);
  assert.is(count(64, 30), 2);
  assert.is(count(2, 1.2), 1, 'the two would share one');
  assert.is(count(64, 0), 1);
  assert.is(count(1, 1), 1);
  assert.is(count(4, null), 2, 'where nothing is known of the load, as where there is none');
  assert.match(chooseProcessors(null, 'tcg', { usable: 2, free: 0.42 }).reason, '0.4 are free');
});

test('KVM needs no free processors for two', () => {
  assert.is(chooseProcessors(null, 'kvm', { usable: 2, free: 0 }).count, 2);
  assert.is(chooseProcessors(null, 'kvm', { usable: 1, free: 1 }).count, 1);
});

test('the setting decides, whatever is free', () => {
  for (const free of [0, 2, null]) {
    assert.equal(chooseProcessors(4, 'tcg', { usable: 2, free }), { count: 4, reason: 'IMAGEBUILDER_VM_CPUS' });
  }
  const setting = (text: string) => loadConfig({ IMAGEBUILDER_VM_CPUS: text }).guest.vmCpus;
  assert.equal([setting(''), setting('1'), setting('08'), setting('64')], [null, 1, 8, 64]);
  for (const wrong of ['0', '00', '65', '1.5', 'two']) assert.throws(() => setting(wrong), /from 1 to 64/);
});

test('processors that other programs use are not free', async () => {
  const loads = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'process.stdout.write("busy"); for (;;);'], { stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  try {
    await Promise.all(loads.map(({ stdout }) => once(stdout, 'data')));
    const { usable, free } = await measureRoom(never);
    assert.is(usable, loads.length);
    assert.ok(free !== null && free < 0.5, `${free} processors are said to be free`);
    assert.is(chooseProcessors(null, 'tcg', { usable, free }).count, 1);
  } finally {
    for (const load of loads) load.kill('SIGKILL');
  }
});

test('only processors that this process may use count as free', () => {
  const stat = [
    'cpu  90 0 90 3000 60 0 0 0 0 0',
    'cpu0 30 0 30 1000 20 0 0 0 0 0',
    'cpu1 30 0 30 100 5 0 0 0 0 0',
    'cpu11 30 0 30 2000 40 0 0 0 0 0',
    'btime 1795809600',
  ].join('\n');
  const allowed = parseProcessors('Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t1,10-12\nMems_allowed:\t1\n');
  assert.equal(allowed, [
    [1, 1],
    [10, 12],
  ]);
  assert.is(idleMs(stat, allowed), 21_450);
  assert.is(idleMs(stat, []), null);
  assert.is(idleMs('', allowed), null);
});

test.run();
