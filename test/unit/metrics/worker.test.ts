import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { createWorkerMetrics } from '#lib/metrics/worker.ts';

/** The samples of a worker's metric, without its own label. */
async function samplesAfter(name: string, work: (measures: ReturnType<typeof createWorkerMetrics>) => void) {
  const metrics = createMetrics('build-worker');
  work(createWorkerMetrics(metrics));
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith(`${name}{`));
  return lines.map((line) => line.slice(name.length).replace(/,?function="build-worker",?/, ''));
}

test('lost attempts are counted by their cause, from 0 on', async () => {
  const name = 'imagebuilder_attempts_lost_total';
  assert.equal(await samplesAfter(name, () => {}), ['{cause="worker"} 0', '{cause="guest"} 0']);
  const counted = await samplesAfter(name, ({ attemptLost }) => {
    for (const cause of ['guest', 'worker', 'guest'] as const) attemptLost(cause);
  });
  assert.equal(counted, ['{cause="worker"} 1', '{cause="guest"} 2']);
});

test('steps are counted by whether they have failed', async () => {
  const counted = await samplesAfter('imagebuilder_step_duration_seconds_count', ({ stepEnded }) => {
    stepEnded({ step: 'fetch', seconds: 1, error: null });
    stepEnded({ step: 'install', seconds: 2, error: null });
    stepEnded({ step: 'install', seconds: 3, error: new ImageBuilderError('apt.package', 'no hello') });
  });
  assert.equal(counted, [
    '{step="fetch",result="done"} 1',
    '{step="install",result="done"} 1',
    '{step="install",result="failed"} 1',
  ]);
});

test.run();
