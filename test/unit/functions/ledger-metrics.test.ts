import { randomUUID } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { showLedger } from '../../../functions/status/ledger-metrics.ts';
import { buildEvent } from '../queue/build-event.ts';

/** A ledger with what stands in it: two builds that wait, one that runs, one that has failed. */
function filledLedger() {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 20 });
  const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString();
  const add = (ticket: number, time: string, more: Partial<ReturnType<typeof buildEvent>>[] = []) => {
    const build_id = randomUUID();
    const submission = { caller: 'a', request_sha256: '1'.repeat(64) };
    const first = buildEvent({ build_id, ticket_id: ticket, time });
    ledger.apply({ kind: 'event', id: randomUUID(), event: first, submission });
    for (const values of more) {
      const event = buildEvent({ build_id, ticket_id: ticket, time: ago(1), ...values });
      ledger.apply({ kind: 'event', id: randomUUID(), event, submission });
    }
  };
  const running = { state: 'running', attempt: 1, sequence: 1, worker: 'w-1' } as const;
  const guest = { kind: 'vm', accelerator: 'tcg', reason: 'no KVM' } as const;
  add(1, ago(600));
  add(2, ago(30));
  add(3, ago(900), [{ ...running, guest }]);
  add(4, ago(900), [running, { ...running, state: 'failed', sequence: 2 }]);
  const worker = { kind: 'worker', id: randomUUID(), worker: 'w-2', time: ago(1), unable: 'the disk is full' } as const;
  ledger.apply(worker);
  return ledger;
}

async function shown(caughtUp: boolean) {
  const metrics = createMetrics('status');
  showLedger(metrics, { ...filledLedger(), caughtUp });
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('imagebuilder_'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')).replace(/,?function="status"/, ''), line] as const),
  );
}

test('builds, queue and workers of the ledger are gauges', async () => {
  const lines = await shown(true);
  const value = (name: string) => Number(lines.get(name)?.split(' ').at(-1));
  assert.is(value('imagebuilder_builds{state="queued"}'), 2);
  assert.is(value('imagebuilder_builds{state="running"}'), 1);
  assert.is(value('imagebuilder_builds{state="completed"}'), 0);
  assert.is(value('imagebuilder_builds{state="failed"}'), 1);
  assert.is(value('imagebuilder_queue_length{}'), 2);
  const oldest = value('imagebuilder_queue_oldest_seconds{}');
  assert.ok(oldest >= 600 && oldest < 700, String(oldest));
  assert.is(value('imagebuilder_workers{state="able"}'), 1);
  assert.is(value('imagebuilder_workers{state="unable"}'), 1);
  assert.is(value('imagebuilder_worker_guests{guest="vm",accelerator="tcg"}'), 1);
  assert.is(value('imagebuilder_ledger_ready{}'), 1);
});

test('while the events stream is being read, no number says that there are no builds', async () => {
  assert.equal([...(await shown(false)).values()], ['imagebuilder_ledger_ready{function="status"} 0']);
});

test.run();
