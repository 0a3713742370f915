import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { watchCancelUrl } from '#lib/worker/cancellation.ts';

/** Watches a URL that gives these answers one after another, and says after how many looks it cancelled, if it did. */
async function watch(answers: unknown[]): Promise<{ cancelledAfter: number | null; looks: number }> {
  let looks = 0;
  let cancelledAfter: number | null = null;
  const abort = new AbortController();
  const watching = watchCancelUrl('http://lander/job/1', {
    getJson: async () => {
      const answer = answers[Math.min(looks, answers.length - 1)];
      looks++;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    pollMs: 5,
    signal: abort.signal,
    onCancel: () => {
      cancelledAfter = looks;
    },
    log: createLog({ level: 'error' }),
  });
  await sleep(100);
  await watching[Symbol.asyncDispose]();
  return { cancelledAfter, looks };
}

test('only an explicit "building": false cancels, at the first look that says so', async () => {
  assert.is((await watch([{ building: true }, { building: true }, { building: false }])).cancelledAfter, 3);
  assert.is((await watch([{ building: false }])).cancelledAfter, 1);
});

test('errors and odd answers are tolerated, and looking goes on', async () => {
  for (const odd of [new Error('connection refused'), null, [], {}, { building: 'false' }, { building: 0 }, 'false']) {
    const { cancelledAfter, looks } = await watch([odd]);
    assert.is(cancelledAfter, null, JSON.stringify(odd));
    assert.ok(looks > 1);
  }
});

test('after a cancel there is no more looking', async () => {
  assert.is((await watch([{ building: false }])).looks, 1);
});

test.run();
