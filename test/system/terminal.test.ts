import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toProblem } from '#lib/api/problem.ts';
import type { BuildStatus } from '#lib/api/status.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { buildStatus, completed, statusOf } from '../unit/client/fixture.ts';
import { startApi } from './serve/api.ts';
import { writeStack } from './serve/command.ts';
import { openTerminal } from './serve/terminal.ts';

/** The command on a real terminal. */

const ticket = 'command-7d3a9e10-2b4c-4f6d-8a1e-5c0b9d8e7f62';
const running = buildStatus({
  ticket_id: ticket,
  message: 'パッケージ e\u0301 を展開しています '.repeat(5),
  log_tail: Array.from({ length: 8 }, (_, index) => `${index} 展開 ${'e\u0301'.repeat(100)}`),
});
const id = running.build_id;
const away = { status: 503, body: toProblem(new ImageBuilderError('function.unavailable', 'it is being started')) };

/** One whole view: its heading first and once, the current step, the total, and a free row. */
function isView(rows: number) {
  return (lines: readonly string[]) =>
    lines.length < rows &&
    // The rest of a line that the terminal had to break would begin otherwise.
    lines.every((line) => /^(Build|[✓▸ ] )/.test(line)) &&
    lines.findIndex((line) => line.startsWith(`Build ${id}`)) === 0 &&
    lines.filter((line) => line.includes(id)).length === 1 &&
    lines[0]?.endsWith('running') === true &&
    lines.filter((line) => line.startsWith('▸ install')).length === 1 &&
    lines.filter((line) => line.includes('total')).length === 1;
}

test('watch fits sixty columns and ten rows, and every size that the terminal gets meanwhile', async () => {
  await using api = await startApi({ looks: [running] });
  await using terminal = await openTerminal(['watch', id, '--url', api.url], { columns: 60, rows: 10 });
  await terminal.shows('a view', isView(10));
  for (const [columns, rows] of [
    [200, 50],
    [60, 24],
    [100, 10],
    [61, 11],
    [60, 10],
  ] as const) {
    await terminal.resize(columns, rows);
    await terminal.shows(`a view of ${columns} columns and ${rows} rows`, isView(rows));
  }
  await terminal.type('C-c');
  const lines = await terminal.shows('the end', (shown) => shown.includes('exit 130'));
  assert.match(lines.join(''), `cancel it with \`imagebuilder cancel ${id}\``);
  assert.not.match(lines.join('\n'), '^C');
});

test('a view is drawn over the one before, and the result stands below the last one', async () => {
  const looks = [buildStatus({ step: 'fetch', ticket_id: ticket }), running, away, running, completed];
  await using api = await startApi({ looks });
  await using terminal = await openTerminal(['watch', id, '--url', api.url], { columns: 80, rows: 30 });
  const lines = await terminal.shows('the end', (shown) => shown.includes('exit 0'));
  assert.equal(
    lines.map((line) => line.split(' ')[0]).filter((word) => word === 'Build'),
    ['Build', 'Build'],
  );
  assert.match(lines[0] ?? '', /ticket 42 {2}completed$/);
  assert.ok(
    lines.some((line) => line.startsWith(`Build ${id} completed in`)),
    lines.join('\n'),
  );
});

const builds = (count: number, changes: Partial<BuildStatus>) =>
  Array.from({ length: count }, (_, index) => buildStatus({ ticket_id: `${changes.state}-${index}`, ...changes }));

test('status --watch shows its heading and the running builds, in every size', async () => {
  const body = statusOf([...builds(30, { state: 'completed' }), ...builds(30, { state: 'queued' }), running]);
  await using api = await startApi({ looks: [{ status: 200, body }, away, { status: 200, body }] });
  await using terminal = await openTerminal(['status', '--watch', '--url', api.url], { columns: 60, rows: 10 });
  for (const [columns, rows] of [
    [60, 10],
    [200, 50],
    [80, 24],
    [60, 10],
  ] as const) {
    await terminal.resize(columns, rows);
    const lines = await terminal.shows(
      `a status of ${columns} columns and ${rows} rows`,
      (shown) =>
        shown.length < rows &&
        shown.length > rows - 4 &&
        shown.filter((line) => line.startsWith('Image Builder 0.1.0: ok')).length === 1 &&
        shown[0]?.startsWith('Image Builder') === true &&
        shown.every((line) => line.length <= columns),
    );
    assert.match(lines.find((line) => line.startsWith(id)) ?? '', /running/);
  }
  await terminal.type('C-c');
  await terminal.shows('the end', (shown) => shown.includes('exit 130'));
});

test('the table of status fits the terminal', async () => {
  await using api = await startApi({ looks: [running] });
  for (const columns of [60, 124, 200]) {
    await using terminal = await openTerminal(['status', '--url', api.url], { columns, rows: 24 });
    const lines = await terminal.shows('the end', (shown) => shown.includes('exit 0'));
    // Without a line that the terminal had to break.
    assert.is(lines.filter((line) => line !== '').length, columns === 60 ? 8 : 6, lines.join('\n'));
  }
});

test('with TERM=dumb or NO_COLOR, and without a terminal, nothing moves the cursor', async () => {
  for (const env of [{ TERM: 'dumb' }, { NO_COLOR: '1' }]) {
    for (const args of [
      ['watch', id],
      ['status', '--watch'],
    ]) {
      await using api = await startApi({ looks: [running, completed] });
      await using terminal = await openTerminal([...args, '--url', api.url], { columns: 80, rows: 24, env });
      await terminal.shows('the completed build', (lines) => lines.some((line) => line.includes('completed')));
      assert.not.match(await terminal.written(), '\u001b');
    }
  }
});

test('serve on a terminal writes readable lines, and Ctrl-C says that it drains and what a second one does', async () => {
  await using stack = await writeStack({ slow: { handler: 'slow' } });
  const args = ['serve', '--stack', stack.file, '--listen', '127.0.0.1:0', '--grace', '50'];
  await using terminal = await openTerminal(args, { columns: 200, rows: 24 });
  const started = await terminal.shows('its address', (lines) => lines.some((line) => line.includes('listens on')));
  assert.ok(
    started.some((line) => /^[0-9:]{8} slow +function ready {2}pid=[0-9]+$/.test(line)),
    started.join('\n'),
  );
  const url = /listens on (\S+)/.exec(started.join('\n'))?.[1] ?? '';
  const call = fetch(`${url}/function/slow?stubborn=yes&ms=100000`).catch(() => null);
  await terminal.shows('the call', (lines) => lines.some((line) => line.includes('slow begins')));
  await terminal.type('C-c');
  await terminal.shows('the first signal', (lines) =>
    /Stopping: no new calls are taken\. Calls in work have 50 s to end; .* Ctrl-C again kills all/.test(
      lines.join(' '),
    ),
  );
  await terminal.type('C-c');
  const ended = await terminal.shows('the end', (lines) => lines.includes('exit 1'));
  assert.match(ended.join('\n'), 'Stopping at once: the functions are killed.');
  assert.not.match(ended.join('\n'), /[{}]/);
  await call;
});

test.run();
