import { createServer } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { createWake } from '#lib/worker/wake.ts';
import { listen } from '../../../lab/servers/listen.ts';

/** Wakes, as the gateway gets them. */

const log = createLog({ level: 'error' });

/** A gateway with the wakes that it has got: of each, how the worker is asked to answer. */
async function startGateway() {
  const wakes: (string | string[] | undefined)[] = [];
  const server = createServer((request, response) => {
    if (request.url === '/async-function/build-worker') wakes.push(request.headers.prefer);
    request.resume();
    response.writeHead(202).end();
  });
  return { wakes, listening: await listen(server) };
}

for (const [wakeAnswer, prefer] of [
  ['early', 'respond-async'],
  ['late', undefined],
] as const) {
  test(`IMAGEBUILDER_WAKE_ANSWER=${wakeAnswer} is what the worker is asked for`, async () => {
    const { wakes, listening } = await startGateway();
    await using _gateway = listening;
    const wake = createWake({ gatewayUrl: listening.url, wakeSocket: '', wakeAnswer, log });
    wake.send();
    await wake[Symbol.asyncDispose]();
    assert.equal(wakes, [prefer]);
  });
}

test('wakes that are passed on become one, which is not lost when the worker ends before its time', async () => {
  const { wakes, listening } = await startGateway();
  await using _gateway = listening;
  const wake = createWake({ gatewayUrl: listening.url, wakeSocket: '', wakeAnswer: 'early', log });
  wake.passOn();
  wake.passOn();
  assert.is(wakes.length, 0);
  await wake[Symbol.asyncDispose]();
  assert.is(wakes.length, 1);
});

test('a wake that is passed on is sent while the worker lives, and so is the next one', async () => {
  const { wakes, listening } = await startGateway();
  await using _gateway = listening;
  const wake = createWake({ gatewayUrl: listening.url, wakeSocket: '', wakeAnswer: 'early', log, passOnMs: 1 });
  for (const count of [1, 2]) {
    wake.passOn();
    while (wakes.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await wake[Symbol.asyncDispose]();
  assert.is(wakes.length, 2);
});

test.run();
