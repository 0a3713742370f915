import type { BuildPage } from '../api/build-list.ts';
import { BuildState, type GuestReport } from '../api/event.ts';
import type { BuildStatus, Status } from '../api/status.ts';
import { formatSeconds, plain, table } from '../text.ts';
import { truncate } from '../width.ts';
import { type Column, fitTable } from './fit-table.ts';
import type { Screen } from './live.ts';
import { cutMark, percent } from './view.ts';

/** The whole status, for people. */

interface BuildColumn extends Column {
  readonly cell: (one: BuildStatus) => string;
}

const build: BuildColumn = { title: 'BUILD', cell: (one) => one.build_id };
const ticket: BuildColumn = {
  title: 'TICKET',
  cell: (one) => plain(String(one.ticket_id)),
  least: 16,
  leaveOut: 3,
};
const state: BuildColumn = { title: 'STATE', cell: stateOf };
const step: BuildColumn = { title: 'STEP', cell: (one) => one.step ?? '', leaveOut: 4 };
const done: BuildColumn = { title: ' DONE', cell: (one) => percent(one.progress), leaveOut: 6 };
const time: BuildColumn = { title: 'TIME', cell: (one) => formatSeconds(one.elapsed_seconds), leaveOut: 2 };
const worker: BuildColumn = { title: 'WORKER', cell: (one) => plain(one.worker ?? ''), least: 10, leaveOut: 1 };
const message: BuildColumn = {
  title: 'MESSAGE',
  cell: (one) => plain(one.error?.message ?? one.image?.location ?? one.message),
  least: 16,
  leaveOut: 5,
};

const all: readonly BuildColumn[] = [build, ticket, state, step, done, time, worker, message];
const whole = all.map(({ leaveOut: _leaveOut, ...column }) => column);
/** The same in two lines for each build. */
const upper: readonly BuildColumn[] = [build, state, done];
const lower: readonly BuildColumn[] = [ticket, step, time, worker, message];
/** For terminals that no id fits into. */
const smallest: readonly BuildColumn[] = [{ ...build, least: 8 }, state];

/** The status at its full width, as for a file. */
export function describeStatus(status: Status): string {
  const builds = buildsOf(status);
  const heading = headingLines(status);
  if (builds.length === 0) return [...heading, 'No builds.'].join('\n');
  return [...heading, '', ...wideTable(builds), ...leftOut(status, builds)].join('\n');
}

/** A page of builds, at its full width or no wider than the terminal, and how to see the next one. */
export function describePage({ builds, next_cursor }: BuildPage, columns?: number, mark = '…'): string {
  if (builds.length === 0) return 'No builds.';
  const lines = columns === undefined ? wideTable(builds) : tableIn(builds, columns, mark);
  return [...lines, ...(next_cursor === null ? [] : ['', `There are more: add --cursor ${next_cursor}`])].join('\n');
}

/** The status with a table that is no wider than the terminal: with two lines for a build where one is too narrow. */
export function describeStatusIn(status: Status, columns: number, mark = '…'): string {
  const builds = buildsOf(status);
  const heading = headingLines(status);
  if (builds.length === 0) return [...heading, 'No builds.'].join('\n');
  return [...heading, '', ...tableIn(builds, columns, mark), ...leftOut(status, builds)].join('\n');
}

/**
 * The status on one screen, with one row left free: the heading, the running builds, those that wait, and the newest of
 * the finished ones. `notice` is a line about the connection.
 */
export function renderStatus(status: Status, screen: Screen, notice?: string): string {
  const { columns, rows } = screen;
  const mark = cutMark(screen);
  const builds = buildsOf(status);
  const notices = notice === undefined ? [] : [notice];
  const room = rows - 1 - notices.length;
  const heading = headingLines(status);
  const lines = [...heading];
  let left = room - lines.length;
  const blank = left > builds.length + 2 || left > 12;
  if (blank) left -= 1;
  // One line says how many builds there is no room for.
  const complete = builds.length < left ? [...tableIn(builds, columns, mark), ...omitted(status, builds)] : [];
  const fits = complete.length > 0 && complete.length <= left;
  const shown = builds.slice(0, Math.max(0, left - 2));
  const part = fits ? complete : [...oneLineEach(shown, columns, mark), ...omitted(status, shown)];
  if (builds.length === 0) lines.push('No builds.');
  else lines.push(...(blank ? [''] : []), ...part);
  return [...lines.slice(0, room), ...notices].map((line) => truncate(line, columns, mark)).join('\n');
}

function wideTable(builds: readonly BuildStatus[]): string[] {
  return table([all.map(({ title }) => title), ...cells(all, builds)]);
}

/** A line about builds that the service knows and that the status does not show. */
function leftOut({ counts }: Status, builds: readonly BuildStatus[]): string[] {
  const left = Object.values(counts).reduce((sum, count) => sum + count, 0) - builds.length;
  return left <= 0
    ? []
    : ['', `${left} more ${left === 1 ? 'build is' : 'builds are'} known: \`imagebuilder list\` shows all of them.`];
}

/** `queued (3)`: two builds wait before it. */
function stateOf({ cancelling, state, place_in_queue: place }: BuildStatus): string {
  if (cancelling) return 'cancelling';
  return place === undefined ? state : `${state} (${place})`;
}

function tableIn(builds: readonly BuildStatus[], columns: number, mark: string): string[] {
  const fitting = fitTable(whole, cells(whole, builds), columns, mark);
  if (fitting !== null) return fitting;
  const below = fitTable(lower, cells(lower, builds), columns - 2, mark);
  const above = fitTable(upper, cells(upper, builds), columns, mark);
  if (above === null || below === null) return oneLineEach(builds, columns, mark);
  return above.flatMap((line, index) => [line, `  ${below[index] ?? ''}`]);
}

/** Less of each build, and less than fits into the smallest terminals. */
function oneLineEach(builds: readonly BuildStatus[], columns: number, mark: string): string[] {
  return (
    fitTable(all, cells(all, builds), columns, mark) ?? fitTable(smallest, cells(smallest, builds), columns, mark) ?? []
  );
}

function cells(columns: readonly BuildColumn[], builds: readonly BuildStatus[]): string[][] {
  return builds.map((one) => columns.map(({ cell }) => cell(one)));
}

function buildsOf({ running, queued, finished }: Status): readonly BuildStatus[] {
  return [...running, ...queued, ...finished];
}

/** `and 5 more: 1 queued, 4 completed`: the builds that are not among `shown`; no line where there are none. */
function omitted({ counts, running, queued, finished }: Status, shown: readonly BuildStatus[]): string[] {
  const listed = [...running, ...queued, ...finished];
  const of = (name: BuildState, builds: readonly BuildStatus[]) => builds.filter((one) => one.state === name).length;
  const rest = BuildState.options
    .map((name) => ({ name, count: Math.max(counts[name], of(name, listed)) - of(name, shown) }))
    .filter(({ count }) => count > 0);
  const all = rest.reduce((sum, { count }) => sum + count, 0);
  return all === 0 ? [] : [`and ${all} more: ${rest.map(({ name, count }) => `${count} ${name}`).join(', ')}`];
}

function headingLines(status: Status): string[] {
  const { broker } = status;
  const queue = describeQueue(broker.queue_depth);
  const dropped = broker.dropped ? `, ${broker.dropped} dropped by RabbitMQ` : '';
  const buried = broker.buried ? `, ${broker.buried} given up` : '';
  return [
    `Image Builder ${status.version}: ${status.status}`,
    broker.reachable
      ? `RabbitMQ: reachable, ${queue}${dropped}${buried}`
      : `RabbitMQ: out of reach${broker.message === undefined ? '' : `, ${plain(broker.message)}`}; what follows is the last that is known`,
    `Workers: ${describeWorkers(status)}`,
  ];
}

function describeQueue(depth: number | null): string {
  if (depth === null) return 'number of waiting builds unknown';
  return depth === 1 ? '1 build waits' : `${depth} builds wait`;
}

function describeWorkers({ workers, workers_gone: gone }: Status): string {
  const living = workers.length === 0 ? 'none' : workers.map(describeWorker).join(', ');
  return gone === 0 ? living : `${living}; ${gone} no longer there`;
}

/** `worker-1 (vm with KVM)`, with the reason where it is slow or takes no builds. */
function describeWorker({ name, guest, unable }: Status['workers'][number]): string {
  if (unable !== undefined) return `${plain(name)} (takes no builds: ${truncate(plain(unable), 200)})`;
  return guest === undefined ? plain(name) : `${plain(name)} (${plain(describeGuest(guest))})`;
}

function describeGuest({ kind, accelerator, reason }: GuestReport): string {
  if (accelerator === null) return kind;
  return accelerator === 'kvm' ? `${kind} with KVM` : `${kind} without KVM: ${truncate(reason, 120)}`;
}
