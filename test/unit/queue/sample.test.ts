import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createSample } from '#lib/queue/sample.ts';

test('many calls ask once, and a question that failed is asked again', async () => {
  let asked = 0;
  let fails = true;
  const sample = createSample(async () => {
    asked += 1;
    if (fails) throw new Error('RabbitMQ is away');
    return asked;
  });
  const all = await Promise.allSettled(Array.from({ length: 50 }, sample));
  assert.equal([asked, new Set(all.map(({ status }) => status))], [1, new Set(['rejected'])]);
  fails = false;
  assert.equal(new Set(await Promise.all(Array.from({ length: 50 }, sample))), new Set([2]));
  assert.equal([await sample(), asked], [2, 2], 'the numbers of a moment ago are good enough');
});

test.run();
