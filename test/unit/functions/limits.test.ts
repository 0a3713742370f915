import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import type { Caller, CallerLimits } from '#lib/callers.ts';
import type { ImageBuilderError } from '#lib/errors.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { createAdmission, packageFaults } from '../../../functions/build-image/limits.ts';
import { buildEvent } from '../queue/build-event.ts';

const startOfTime = Date.parse('2026-01-01T00:00:00Z');
const at = (minutes: number) => new Date(startOfTime + minutes * 60_000);
const idOf = (index: number) => `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
const callerWith = (limits: CallerLimits, name = 'lander'): Caller => ({ name, role: 'submit', limits });

function create() {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 20 });
  const admission = createAdmission(ledger);
  const record = (index: number, minutes: number, values: Partial<BuildEvent> = {}, caller = 'lander') =>
    ledger.apply({
      kind: 'event',
      id: idOf(index),
      event: buildEvent({ build_id: idOf(index), ticket_id: index, time: at(minutes).toISOString(), ...values }),
      submission: { caller, request_sha256: '0'.repeat(64) },
    });
  return { admission, record };
}

/** The Retry-After of the refusal. */
function refusal(work: () => unknown): number | undefined {
  try {
    work();
  } catch (error) {
    assert.is((error as ImageBuilderError).code, 'caller.limit');
    return (error as ImageBuilderError).retryAfterSeconds;
  }
  return assert.unreachable('it was let through') as never;
}

test('queued and running builds count until they end, those of others never', () => {
  const { admission, record } = create();
  const caller = callerWith({ unfinished_builds: 2 });
  record(0, 0);
  record(1, 0, { state: 'running', worker: 'w', attempt: 1, sequence: 1 });
  record(2, 0, {}, 'other');
  assert.is(
    refusal(() => admission.admit(caller, idOf(3), at(1))),
    30,
  );
  record(1, 1, { state: 'completed', worker: 'w', attempt: 1, sequence: 2 });
  admission.admit(caller, idOf(3), at(1));
});

test('submissions under way count, once, until they are given up or in the stream', () => {
  const { admission, record } = create();
  const caller = callerWith({ unfinished_builds: 2 });
  const first = admission.admit(caller, idOf(0), at(0));
  const second = admission.admit(caller, idOf(1), at(0));
  refusal(() => admission.admit(caller, idOf(2), at(0)));
  admission.admit(callerWith({ unfinished_builds: 1 }, 'other'), idOf(3), at(0));
  record(0, 0);
  refusal(() => admission.admit(caller, idOf(2), at(0)));
  first[Symbol.dispose]();
  refusal(() => admission.admit(caller, idOf(2), at(0)));
  second[Symbol.dispose]();
  admission.admit(caller, idOf(2), at(0));
});

test('builds an hour are counted over the last hour, and Retry-After says when a place is free', () => {
  const { admission, record } = create();
  const caller = callerWith({ builds_an_hour: 2 });
  record(0, 0);
  record(1, 0, { state: 'failed', worker: 'w', attempt: 1, sequence: 1 });
  record(2, 30);
  assert.is(
    refusal(() => admission.admit(caller, idOf(9), at(45))),
    15 * 60,
  );
  record(3, 50);
  assert.is(
    refusal(() => admission.admit(caller, idOf(9), at(61))),
    29 * 60,
  );
  admission.admit(caller, idOf(9), at(91));
});

test('without limits nothing is refused', () => {
  const { admission, record } = create();
  for (let index = 0; index < 50; index += 1) record(index, 0);
  admission.admit(callerWith({}), idOf(99), at(0));
});

test('too many packages are a fault of the request; a value that is no list is a fault by the schema', () => {
  const caller = callerWith({ packages: 1 });
  assert.equal(packageFaults(caller, { package_list: ['a', 'b'] })[0]?.path, '$.package_list');
  for (const body of [{ package_list: ['a'] }, { package_list: 'ab' }, {}, null, undefined, 'ab', []]) {
    assert.equal(packageFaults(caller, body), []);
  }
  assert.equal(packageFaults(callerWith({}), { package_list: ['a', 'b'] }), []);
});

test.run();
