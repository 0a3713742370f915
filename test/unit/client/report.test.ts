import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Status } from '#lib/api/status.ts';
import { describeChange, describeEnd, newLines } from '#lib/client/report.ts';
import { describePage, describeStatus } from '#lib/client/status-report.ts';
import { advance, renderView } from '#lib/client/view.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { overviewOf } from '#lib/queue/overview.ts';
import { pageOf } from '#lib/queue/page.ts';
import { formatBytes, formatSeconds, plain } from '#lib/text.ts';
import { buildEvent } from '../queue/build-event.ts';
import { buildStatus, completed, failed, statusOf } from './fixture.ts';

const screen = { columns: 80, rows: 24, color: false, unicode: true };

test('a running build is shown as a line per step, a bar for the current one, and the log', () => {
  let view = advance(undefined, buildStatus({ step: 'fetch' }), 1_000);
  view = advance(view, buildStatus({ step: 'open' }), 4_000);
  view = advance(view, buildStatus(), 6_000);
  assert.is(
    renderView(view, screen),
    `Build 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55  ticket 42  running
✓ fetch    3 s
✓ inspect
✓ open     2 s
✓ sources
▸ install  [████████████░░░░░░░░░░░░]  52 %  Unpacking hello
  seal
  repack
  check
  upload
  total    [██████████░░░░░░░░░░░░░░]  40 %  1 min 05 s
  │ Get:1 hello
  │ Unpacking hello`,
  );
});

test('without UTF-8 it is ASCII, and no line is wider than the terminal', () => {
  const view = advance(undefined, buildStatus({ message: 'x'.repeat(200), log_tail: ['y'.repeat(200)] }), 0);
  const lines = renderView(view, { columns: 40, rows: 24, color: false, unicode: false }, 'z'.repeat(200)).split('\n');
  for (const line of lines) assert.match(line, /^[ -~]{0,40}$/);
  assert.match(lines[6] ?? '', /^> install {2}\[#{12}\.{12}\]/);
});

test('a failed step says what went wrong, later ones stay open', () => {
  const lines = renderView(advance(undefined, failed, 0), screen).split('\n');
  assert.is(lines[5], '✗ install  Packages cannot be found: helo');
  assert.is(lines[6], '  seal');
});

test('a new attempt begins from the first step', () => {
  const first = advance(undefined, buildStatus({ step: 'fetch' }), 1_000);
  const second = advance(first, buildStatus({ step: 'inspect', attempt: 2 }), 90_000);
  const lines = renderView(second, screen).split('\n');
  assert.match(lines[0] ?? '', 'attempt 2');
  assert.is(lines[1], '✓ fetch');
});

test('text of others cannot steer the terminal', () => {
  assert.is(plain('\u001b[2Jgone\r\nnext\u0007\u009b31mline\t'), 'gone next line');
  const view = advance(undefined, buildStatus({ log_tail: ['\u001b]0;title\u0007\u001b[31mred'] }), 0);
  assert.not(renderView(view, screen).includes('\u001b'));
});

test('plain lines show each change once', () => {
  const first = buildStatus();
  assert.equal(describeChange(undefined, first), [
    ' 40 %  install: 52 %, Unpacking hello',
    '       | Get:1 hello',
    '       | Unpacking hello',
  ]);
  assert.equal(describeChange(first, { ...first, elapsed_seconds: 66, current: 14 }), []);
  assert.equal(describeChange(first, { ...first, current: 15 }), [' 40 %  install: 60 %, Unpacking hello']);
  assert.equal(describeChange(first, { ...first, cancelling: true }), [
    ' 40 %  cancelling install: 52 %, Unpacking hello',
  ]);
  assert.equal(describeChange(first, { ...first, log_tail: ['Unpacking hello', 'Setting up hello'] }), [
    '       | Setting up hello',
  ]);
});

test('of two tails of one log, only the new lines are shown', () => {
  assert.equal(newLines(['a', 'b'], ['a', 'b']), []);
  assert.equal(newLines(['a', 'b', 'c'], ['b', 'c', 'd']), ['d']);
  assert.equal(newLines(['a', 'a'], ['a', 'a', 'a']), ['a']);
  assert.equal(newLines(['a'], ['x', 'y']), ['x', 'y']);
  assert.equal(newLines([], ['x']), ['x']);
  assert.equal(newLines(['x'], []), []);
});

test('the end of a build says where the image is, or what to do', () => {
  assert.is(
    describeEnd(completed),
    `Build 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 completed in 1 min 05 s
  image     file:///store/image.qcow2
  name      image.qcow2
  size      314.0 MiB (qcow2)
  sha256    ${'a'.repeat(64)}
  packages  hello 2.10-3`,
  );
  const image = completed.image && {
    ...completed.image,
    removed: [{ name: 'foe', version: '1.0', architecture: 'all' }],
    warnings: ['mta was asked for\u0007'],
  };
  assert.match(
    describeEnd({ ...completed, ...(image && { image }) }),
    /\n {2}removed {3}foe 1\.0\n {2}warning {3}mta was asked for$/,
  );
  assert.is(
    describeEnd(failed),
    `Build 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 failed in step install after 1 min 05 s: Packages cannot be found: helo
  apt.package, a fault of the request: change it.
  the end of its log:
  | E: Unable to locate package helo`,
  );
  const cancelled = buildStatus({ state: 'cancelled' });
  assert.is(describeEnd(cancelled), 'Build 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 cancelled after 1 min 05 s');
});

test('the status is a table', () => {
  assert.is(
    describeStatus(statusOf([buildStatus(), completed])),
    `Image Builder 0.1.0: ok
RabbitMQ: reachable, 0 builds wait
Workers: worker-1

BUILD                                 TICKET  STATE      STEP      DONE  TIME        WORKER    MESSAGE
0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55  42      running    install   40 %  1 min 05 s  worker-1  Unpacking hello
0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55  42      completed  upload   100 %  1 min 05 s  worker-1  file:///store/image.qcow2`,
  );
  assert.match(describeStatus(statusOf([])), /No builds\.$/);
});

test('the status of thousands of builds is short, and says how to get the rest, as a page of the list does', () => {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 24 });
  const now = new Date();
  const count = 5_000;
  for (let index = 0; index < count; index += 1) {
    const build_id = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
    const of = { build_id, ticket_id: index, time: now.toISOString() };
    const end = { ...of, state: 'failed', worker: 'w', attempt: 1, sequence: 1 } as const;
    const events = index % 2 === 0 ? [of] : [of, end];
    for (const event of events) ledger.apply({ kind: 'event', id: build_id, event: buildEvent(event) });
  }
  const lines = describeStatus({ ...statusOf([]), ...overviewOf(ledger, now, { caller: null }) }).split('\n');
  assert.is(lines.length, 3 + 2 + 40 + 2);
  assert.is(lines.at(-1), '4960 more builds are known: `imagebuilder list` shows all of them.');
  assert.match(lines.at(-3) ?? '', / failed /);
  const page = pageOf(ledger, now, { limit: 50 }, null);
  const listed = describePage(page).split('\n');
  assert.is(listed.length, 1 + 50 + 2);
  assert.match(listed[1] ?? '', ` ${count - 1} `);
  assert.is(listed.at(-1), `There are more: add --cursor ${page.next_cursor}`);
});

test('the status says how each worker opens images, and why slowly', () => {
  const worker = { last_seen: '2026-01-01T12:01:05Z', builds: [] };
  const workers: Status['workers'] = [
    { ...worker, name: 'w-1', guest: { kind: 'vm', accelerator: 'kvm', reason: 'a guest starts with KVM' } },
    { ...worker, name: 'w-2', guest: { kind: 'host', accelerator: null, reason: 'the setting says so' } },
    { ...worker, name: 'w-3', guest: { kind: 'vm', accelerator: 'tcg', reason: '/dev/kvm cannot be opened\u001b[2J' } },
    { ...worker, name: 'w-4' },
  ];
  assert.match(
    describeStatus({ ...statusOf([]), workers }),
    'Workers: w-1 (vm with KVM), w-2 (host), w-3 (vm without KVM: /dev/kvm cannot be opened), w-4\n',
  );
});

test('times and sizes are short', () => {
  assert.equal([0.4, 59, 61, 3_725].map(formatSeconds), ['0 s', '59 s', '1 min 01 s', '1 h 02 min']);
  assert.equal([512, 2048, 5 * 1024 ** 3].map(formatBytes), ['512 bytes', '2.0 KiB', '5.0 GiB']);
});

test.run();
