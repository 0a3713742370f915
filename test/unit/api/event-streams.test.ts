import { once } from 'node:events';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createEventStreams } from '#lib/api/event-streams.ts';

const idleMs = 40;
const few = { maximum: 10, busy: 'streams are open' };

async function* endless() {
  for (;;) {
    await sleep(1);
    yield ': event\n\n';
  }
}

test('a reader who takes nothing is cut off, and makes room', async () => {
  const streams = createEventStreams({ ...few, maximum: 1, idleMs });
  const taken: string[] = [];
  const stuck = new Writable({ objectMode: true, highWaterMark: 1, write: (event) => void taken.push(event) });
  const stream = streams.open(endless());
  stream.pipe(stuck);
  assert.throws(() => streams.open(endless()), /1 streams are open/);
  while (!stream.closed) await sleep(idleMs);
  assert.is(taken.length, 1);
  streams.open(endless()).destroy();
});

test('a slow reader, and one for whom there is nothing, are not cut off', async () => {
  const streams = createEventStreams({ ...few, idleMs });
  let taken = 0;
  const slow = new Writable({
    objectMode: true,
    highWaterMark: 1,
    async write(_event, _encoding, done) {
      await sleep(idleMs / 8);
      taken += 1;
      done();
    },
  });
  const slowlyRead = streams.open(endless());
  slowlyRead.pipe(slow);
  const nothing = Promise.withResolvers<void>();
  const silent = streams.open(
    (async function* () {
      await nothing.promise;
      yield 'at last';
    })(),
  );
  const got: string[] = [];
  silent.on('data', (event) => got.push(event));
  while (taken < 40) await sleep(idleMs);
  assert.equal([slowlyRead.destroyed, silent.destroyed], [false, false]);
  slowlyRead.destroy();
  nothing.resolve();
  await once(silent, 'close');
  assert.equal(got, ['at last']);
});

test.run();
