import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { backoffMs, retry } from '#lib/retry.ts';

test('waits double up to the longest, each random between its shares', () => {
  const backoff = { delayMs: 100, maximumDelayMs: 1_000 };
  for (const [index, longestMs] of [100, 200, 400, 800, 1_000, 1_000].entries()) {
    const ms = backoffMs(index + 1, backoff);
    assert.ok(ms >= longestMs / 2 && ms <= longestMs, `${ms} of ${longestMs}`);
    assert.is(backoffMs(index + 1, backoff, [1, 1]), longestMs);
  }
  assert.is(backoffMs(5_000, backoff, [1, 1]), 1_000);
});

test('attempts go on until one succeeds, or none can help', async () => {
  const failures: string[] = [];
  const fail = async (attempt: number) => {
    if (attempt < 3) throw new Error(`failure ${attempt}`);
    return attempt;
  };
  const waitMs = (error: unknown, attempt: number) => {
    failures.push(`${attempt}: ${(error as Error).message}`);
    return 0;
  };
  assert.is(await retry(fail, { waitMs }), 3);
  assert.equal(failures, ['1: failure 1', '2: failure 2']);
  const last = await retry(fail, { waitMs: (_, attempt) => (attempt === 2 ? null : 0) }).catch((error: Error) => error);
  assert.is((last as Error).message, 'failure 2');
});

test('an abort ends the attempt and the wait with its reason', async () => {
  const reason = new Error('stop');
  for (const abortDuring of ['attempt', 'wait']) {
    const controller = new AbortController();
    let attempts = 0;
    const thrown = await retry(
      async () => {
        attempts += 1;
        if (abortDuring === 'attempt') controller.abort(reason);
        throw new Error('failed');
      },
      {
        signal: controller.signal,
        waitMs: () => {
          assert.is(abortDuring, 'wait');
          setImmediate(() => controller.abort(reason));
          return 60_000;
        },
      },
    ).catch((error: unknown) => error);
    assert.is(thrown, reason);
    assert.is(attempts, 1);
  }
  const aborted = AbortSignal.abort(reason);
  const never = retry(async () => assert.unreachable(), { signal: aborted, waitMs: () => 0 });
  assert.is(await never.catch((error: unknown) => error), reason);
});

test.run();
