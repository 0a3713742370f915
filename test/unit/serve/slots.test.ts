import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createSlots } from '#lib/serve/slots.ts';

const never = new AbortController().signal;

test('as many may hold a slot as there are', () => {
  const slots = createSlots(2);
  const first = slots.tryTake();
  assert.ok(first);
  assert.ok(slots.tryTake());
  assert.is(slots.tryTake(), undefined);
  first();
  first(); // Giving back twice gives back once.
  assert.ok(slots.tryTake());
  assert.is(slots.tryTake(), undefined);
});

test('without a limit there is always one', () => {
  const slots = createSlots(undefined);
  for (let count = 0; count < 1000; count += 1) assert.ok(slots.tryTake());
});

test('a slot that is given back goes to who has waited longest, and is not to be had in between', async () => {
  const slots = createSlots(1);
  const order: string[] = [];
  const release = slots.tryTake();
  const impatient = new AbortController();
  const waits = [
    slots.take(never).then((give) => order.push('first') && give()),
    slots.take(impatient.signal).catch((error: unknown) => order.push(String(error))),
    slots.take(never).then((give) => order.push('third') && give()),
  ];
  impatient.abort('gone');
  release?.();
  assert.is(slots.tryTake(), undefined);
  await Promise.all(waits);
  assert.equal(order.sort(), ['first', 'gone', 'third']);
  assert.ok(slots.tryTake());
});

test.run();
