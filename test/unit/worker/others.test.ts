import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { createOthers } from '#lib/worker/others.ts';

/** When a busy worker wakes others. */

const log = createLog({ level: 'error' });

test('others are woken while a build goes on and jobs wait, and only then', async () => {
  let waiting = 0;
  let looks = 0;
  let wakes = 0;
  const depth = async () => {
    looks += 1;
    if (looks === 1) throw new Error('RabbitMQ is away for a moment');
    return waiting;
  };
  const wake = () => {
    wakes += 1;
  };
  const others = createOthers({ depth, wake, everyMs: 1, log });
  const builds = [others.wakeMeanwhile(), others.wakeMeanwhile()];
  while (looks < 5) await sleep(1);
  assert.is(wakes, 0, 'no job waits');
  waiting = 1;
  while (wakes === 0) await sleep(1);
  builds[0]?.[Symbol.dispose]();
  const before = wakes;
  while (wakes === before) await sleep(1);
  builds[1]?.[Symbol.dispose]();
  await sleep(5); // A look that was under way.
  const after = looks;
  await sleep(20);
  assert.is(looks, after, 'no build goes on');
});

test.run();
