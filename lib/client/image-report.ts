import type { ImagePage, StoredBuildReport } from '../api/image-list.ts';
import { formatBytes, plain, table } from '../text.ts';
import { type Column, fitTable } from './fit-table.ts';

/** Stored builds as text for people. */

interface ImageColumn extends Column {
  readonly cell: (one: StoredBuildReport) => string;
}

const columns: readonly ImageColumn[] = [
  { title: 'BUILD', cell: (one) => one.build_id },
  { title: 'TICKET', cell: (one) => plain(one.ticket_id ?? ''), least: 10, leaveOut: 4 },
  { title: 'STORED', cell: (one) => minuteOf(one.stored_at), leaveOut: 3 },
  { title: 'SIZE', cell: sizeOf, leaveOut: 5 },
  { title: 'STORE', cell: (one) => one.image?.store ?? one.artifacts[0]?.store ?? '', leaveOut: 2 },
  { title: 'IMAGE', cell: nameOf, least: 16, leaveOut: 6 },
  { title: 'BESIDE', cell: besideOf, least: 8, leaveOut: 1 },
];
/** For terminals that no id fits into. */
const smallest: readonly ImageColumn[] = [
  { title: 'BUILD', cell: (one) => one.build_id, least: 8 },
  { title: 'IMAGE', cell: nameOf, least: 5 },
];

/** A page, at its full width or no wider than the terminal, and how to see the next one. */
export function describeImages({ images, next_cursor }: ImagePage, width?: number, mark = '…'): string {
  const more = next_cursor === null ? [] : [`There are more: add --cursor ${next_cursor}`];
  if (images.length === 0) return ['No images.', ...more].join('\n');
  const cells = (chosen: readonly ImageColumn[]) => images.map((one) => chosen.map(({ cell }) => cell(one)));
  const fit = (chosen: readonly ImageColumn[]) =>
    width === undefined ? null : fitTable(chosen, cells(chosen), width, mark);
  const wide = table([columns.map(({ title }) => title), ...cells(columns)]);
  const lines = width === undefined ? wide : (fit(columns) ?? fit(smallest) ?? wide);
  return [...lines, ...(more.length === 0 ? [] : ['', ...more])].join('\n');
}

/** Everything of one build, a line for each fact. */
export function describeImage(one: StoredBuildReport): string {
  const unknown = 'not known';
  const rows = [
    ['build', one.build_id],
    ['ticket', plain(one.ticket_id ?? unknown)],
    ['series', plain(one.series ?? unknown)],
    ['caller', plain(one.caller ?? unknown)],
    ['stored', one.stored_at],
  ];
  const { state } = one;
  if (state === 'log_only') rows.push(['image', 'none']);
  if (state === 'image_missing') {
    rows.push(['image', 'missing: it was deleted, and the files beside it were not; images delete deletes them']);
  }
  if (state === 'files_missing') {
    rows.push(['files', 'some of those beside the image are missing, or in a folder of another machine']);
  }
  const files = [...(one.image === null ? [] : [{ role: 'image', ...one.image }]), ...one.artifacts];
  for (const { role, name, size, location, checksums } of files) {
    rows.push(
      [role, `${plain(name)}, ${formatBytes(size)}`],
      ['', plain(location)],
      ['', `sha256 ${checksums.sha256}`],
    );
  }
  return table(rows).join('\n');
}

function nameOf({ image, state }: StoredBuildReport): string {
  if (image !== null) return plain(image.name);
  return state === 'image_missing' ? '(missing)' : '(none)';
}

/** The size of the image; where it is missing, that of the files which are left. */
function sizeOf({ image, state, artifacts }: StoredBuildReport): string {
  if (image !== null) return formatBytes(image.size);
  return state === 'image_missing' ? formatBytes(artifacts.reduce((sum, { size }) => sum + size, 0)) : '';
}

function besideOf({ state, artifacts }: StoredBuildReport): string {
  const roles = artifacts.map(({ role }) => role);
  return [...roles, ...(state === 'files_missing' ? ['(some missing)'] : [])].join(' ');
}

/** `2026-01-01 12:04` of an ISO 8601 time, in UTC like that. */
function minuteOf(time: string): string {
  return time.slice(0, 16).replace('T', ' ');
}
