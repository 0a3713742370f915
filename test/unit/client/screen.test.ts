import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildSteps } from '#lib/api/event.ts';
import type { BuildStatus } from '#lib/api/status.ts';
import { isDrawable } from '#lib/client/live.ts';
import { describeStatusIn, renderStatus } from '#lib/client/status-report.ts';
import { advance, renderView } from '#lib/client/view.ts';
import { columnsOf, truncate } from '#lib/width.ts';
import { buildStatus, completed, failed, statusOf } from './fixture.ts';

/** Text that fits into every screen, as the terminal counts its columns. */

const defaultTicket = 'command-0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55';
const texts = [
  'Unpacking hello',
  'パッケージを展開しています'.repeat(20),
  `${'e\u0301\u0323'.repeat(300)}`,
  '👍🏽👩‍👩‍👧 🇩🇪 ☀️'.repeat(30),
  'x'.repeat(5000),
  '가나다'.repeat(50),
];

const sizes = [60, 61, 67, 79, 80, 99, 100, 123, 124, 140, 199, 200].flatMap((columns) =>
  [10, 13, 24, 60].map((rows) => ({ columns, rows })),
);

function assertFits(text: string, { columns, rows }: { columns: number; rows: number }): void {
  const lines = text.split('\n');
  assert.ok(lines.length < rows, `${lines.length} lines in ${rows} rows:\n${text}`);
  for (const line of lines) assert.ok(columnsOf(line) <= columns, `wider than ${columns}: ${line}`);
}

const odd = (change: Partial<BuildStatus>) =>
  texts.map((text) =>
    buildStatus({ message: text, ticket_id: text.slice(0, 256), log_tail: Array(8).fill(text), ...change }),
  );
const builds: readonly BuildStatus[] = [
  buildStatus({ ticket_id: defaultTicket, log_tail: Array(8).fill('a line of the log') }),
  buildStatus({ ticket_id: defaultTicket, cancelling: true, attempt: 12 }),
  ...buildSteps.map((step) => buildStatus({ step, ticket_id: defaultTicket })),
  buildStatus({ state: 'queued', step: null, message: 'waits for a worker' }),
  { ...completed, ticket_id: defaultTicket },
  { ...failed, ticket_id: defaultTicket },
  ...odd({}),
  ...odd({ state: 'failed' }),
];

test('the view of a build fits every screen, with its state, its current step and how far it is', () => {
  for (const size of sizes) {
    for (const build of builds) {
      for (const notice of [undefined, 'the gateway is away '.repeat(20)]) {
        const text = renderView(advance(undefined, build, 0), { ...size, color: false, unicode: true }, notice);
        assertFits(text, size);
        const [heading = '', ...rest] = text.split('\n');
        assert.ok(heading.includes(build.cancelling ? 'cancelling' : build.state), heading);
        assert.ok(heading.includes(build.build_id), heading);
        if (build.attempt > 1) assert.match(heading, 'attempt 12');
        if (build.state === 'running')
          assert.ok(
            rest.some((line) => line.startsWith(`▸ ${build.step}`)),
            text,
          );
        assert.match(text, /^ {2}total {4}\[/m);
        assert.is(/; waiting$|…$/m.test(text.split('\n').at(-1) ?? ''), notice !== undefined || /…$/.test(text));
      }
    }
  }
});

test('the ticket of a build has a line of its own where it has no room beside the state', () => {
  const build = buildStatus({ ticket_id: defaultTicket });
  const heading = (columns: number, rows: number) =>
    renderView(advance(undefined, build, 0), { columns, rows, color: false, unicode: true })
      .split('\n')
      .slice(0, 2);
  const name = `Build ${build.build_id}`;
  assert.is(heading(120, 24)[0], `${name}  ticket ${defaultTicket}  running`);
  assert.equal(heading(60, 24), [`${name}  running`, `  ticket ${defaultTicket}`]);
  assert.is(heading(80, 10)[0], `${name}  ticket command-0b9f1c2e-5a…  running`);
  assert.is(heading(60, 10)[0], `${name}  running`);
});

test('ten rows hold the steps around the current one, and the end of the log', () => {
  const build = buildStatus({ step: 'seal', log_tail: ['one', 'two', 'three'] });
  const view = renderView(advance(undefined, build, 0), { columns: 60, rows: 10, color: false, unicode: true });
  const starts = view.split('\n').map((line) => line.trim().split(/\s+/).slice(0, 2).join(' '));
  const [heading, ...rest] = starts;
  assert.is(heading, `Build ${build.build_id}`);
  assert.equal(rest.slice(0, 5), ['✓ install', '▸ seal', 'repack', 'check', 'upload']);
  assert.equal(rest.slice(6), ['│ two', '│ three']);
});

const states = ['running', 'queued', 'completed', 'failed', 'cancelled'] as const;
const many = (count: number) =>
  Array.from({ length: count }, (_, index) =>
    buildStatus({
      state: states[index % states.length] ?? 'running',
      ticket_id: index % 2 === 0 ? defaultTicket : index,
      message: texts[index % texts.length] ?? '',
      worker: 'build-worker-7d9c5b6f4-x2x9z',
      cancelling: index % 10 === 0,
      elapsed_seconds: 3_725,
    }),
  );

test('the status fits every screen, with its heading and the running builds first', () => {
  for (const size of sizes) {
    for (const count of [0, 1, 2, 7, 40]) {
      for (const notice of [undefined, 'the gateway is away; waiting']) {
        const text = renderStatus(statusOf(many(count)), { ...size, color: false, unicode: true }, notice);
        assertFits(text, size);
        const lines = text.split('\n');
        assert.match(lines[0] ?? '', 'Image Builder 0.1.0: ok');
        if (notice !== undefined) assert.is(lines.at(-1), notice);
        if (count === 0) continue;
        const [first] = lines.filter((line) => line.includes(buildStatus().build_id));
        assert.match(first ?? '', /(running|cancelling)/);
        const shown = lines.filter((line) => line.includes(buildStatus().build_id)).length;
        const more = /^and ([0-9]+) more: /m.exec(text)?.[1] ?? '0';
        assert.is(shown + Number(more), count, text);
      }
    }
  }
});

test('the last line counts the builds that have no room, and those that the service does not list', () => {
  const counts = { queued: 40, running: 1, completed: 9, failed: 0, cancelled: 0 };
  const status = { ...statusOf([buildStatus(), completed]), counts };
  const last = (rows: number) =>
    renderStatus(status, { columns: 200, rows, color: false, unicode: true }).split('\n').at(-1);
  assert.is(last(24), 'and 48 more: 40 queued, 8 completed');
  assert.is(last(7), 'and 49 more: 40 queued, 9 completed');
});

test('the table of the status is never wider than the terminal, and whole where there is room', () => {
  const status = statusOf(many(7));
  for (const { columns } of sizes) {
    const table = describeStatusIn(status, columns).split('\n').slice(4);
    for (const line of table) assert.ok(columnsOf(line) <= columns, `wider than ${columns}: ${line}`);
    for (const state of ['running', 'queued', 'completed', 'failed']) {
      assert.ok(
        table.some((line) => line.includes(state)),
        state,
      );
    }
    assert.ok(
      table.some((line) => line.includes('command-0b9f1c')),
      table.join('\n'),
    );
    assert.ok(
      table.some((line) => line.includes('Unpacking hell')),
      table.join('\n'),
    );
  }
});

test('the smallest terminals show something, and nothing too wide', () => {
  for (const columns of [3, 5, 10, 20, 30, 40, 50, 59]) {
    for (const rows of [1, 2, 3, 5, 9]) {
      const screen = { columns, rows, color: false, unicode: true };
      for (const text of [
        renderStatus(statusOf(many(3)), screen),
        renderView(advance(undefined, buildStatus(), 0), screen),
      ]) {
        assert.ok(text.split('\n').length <= Math.max(1, rows - 1));
        for (const line of text.split('\n')) assert.ok(columnsOf(line) <= columns, `${columns}: ${line}`);
      }
    }
  }
});

test('columns are counted as terminals do', () => {
  const cases: [string, number][] = [
    ['', 0],
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['가', 2],
    ['👍', 2],
    ['ｱ', 1],
    ['Ａ', 2],
    ['\u200b', 0],
  ];
  for (const [text, columns] of cases) assert.is(columnsOf(text), columns, text);
  assert.is(truncate('日本語', 5), '日本…');
  assert.is(truncate('日本語', 4), '日…');
  assert.is(truncate('日本', 4), '日本');
  assert.is(truncate('e\u0301'.repeat(4), 3), `${'e\u0301'.repeat(2)}…`);
  assert.is(truncate('a👍', 2), 'a…');
  assert.is(truncate('ab', 0), '');
});

test('only a terminal that can move its cursor is drawn on', () => {
  const stream = { isTTY: true, columns: 80, rows: 24 } as NodeJS.WriteStream;
  assert.ok(isDrawable(stream, { TERM: 'xterm-256color' }));
  assert.ok(isDrawable(stream, { TERM: 'vt100', NO_COLOR: '' }));
  for (const environment of [{}, { TERM: '' }, { TERM: 'dumb' }, { TERM: 'xterm', NO_COLOR: '1' }]) {
    assert.not(isDrawable(stream, environment));
  }
  assert.not(isDrawable({ ...stream, columns: 0 } as NodeJS.WriteStream, { TERM: 'xterm' }));
  assert.not(isDrawable({ columns: 80, rows: 24 } as NodeJS.WriteStream, { TERM: 'xterm' }));
});

test.run();
