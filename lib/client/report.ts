import type { ImageResult } from '../api/image-result.ts';
import type { BuildStatus } from '../api/status.ts';
import { formatBytes, formatSeconds, plain, someOf, table } from '../text.ts';
import { percent, stepFraction } from './view.ts';

/** A build in plain lines: its news since the last look, and its end. */

/**
 * The lines about news: state, step, message, every tenth of a step, and new lines of the log. Empty when nothing is
 * new.
 */
export function describeChange(previous: BuildStatus | undefined, build: BuildStatus): string[] {
  const lines: string[] = [];
  const tenth = (status: BuildStatus) => Math.floor((stepFraction(status) ?? 0) * 10);
  const changed =
    previous === undefined ||
    previous.state !== build.state ||
    previous.step !== build.step ||
    previous.message !== build.message ||
    previous.attempt !== build.attempt ||
    previous.cancelling !== build.cancelling ||
    tenth(previous) !== tenth(build);
  if (changed) {
    const fraction = stepFraction(build);
    const parts = [
      `${percent(build.progress)} `,
      build.cancelling && build.state === 'running' ? 'cancelling' : build.state === 'running' ? '' : build.state,
      build.step === null ? '' : `${build.step}:`,
      fraction === undefined || build.state !== 'running' ? '' : `${percent(fraction).trim()},`,
      plain(build.message),
      build.attempt > 1 && previous?.attempt !== build.attempt ? `(attempt ${build.attempt})` : '',
    ];
    lines.push(parts.filter((part) => part !== '').join(' '));
  }
  for (const line of newLines(previous?.log_tail ?? [], build.log_tail ?? [])) lines.push(`       | ${plain(line)}`);
  return lines;
}

/** The lines that `current` holds beyond `previous`, where both are the last lines of one growing log. */
export function newLines(previous: readonly string[], current: readonly string[]): readonly string[] {
  for (let overlap = Math.min(previous.length, current.length); overlap > 0; overlap -= 1) {
    const end = previous.slice(previous.length - overlap);
    if (end.every((line, index) => line === current[index])) return current.slice(overlap);
  }
  return current;
}

/** How a build ended, with advice about the next step. */
export function describeEnd(build: BuildStatus): string {
  const took = formatSeconds(build.elapsed_seconds);
  const { image, error } = build;
  if (build.state === 'completed' && image !== undefined) {
    return [`Build ${build.build_id} completed in ${took}`, ...describeImage(image)].join('\n');
  }
  if (error === undefined) return `Build ${build.build_id} ${build.state} after ${took}`;
  const where = error.step === null ? '' : ` in step ${error.step}`;
  const lines = [`Build ${build.build_id} ${build.state}${where} after ${took}: ${plain(error.message)}`];
  if (build.state === 'failed') {
    lines.push(`  ${error.code}, ${advice[error.fault]}${error.retryable ? ' Trying the same again may help.' : ''}`);
  }
  const tail = error.log_tail ?? [];
  if (tail.length > 0) lines.push('  the end of its log:', ...tail.map((line) => `  | ${plain(line)}`));
  return lines.join('\n');
}

/** The finished image, its packages and its warnings, as lines of a table. */
export function describeImage(image: ImageResult): string[] {
  const rows = [
    ['  image', image.location],
    ['  name', plain(image.name)],
    ['  size', `${formatBytes(image.size)} (${image.format})`],
    ['  sha256', image.checksums.sha256],
  ];
  if (image.reused !== undefined) {
    rows.push(['  reused', `made by build ${image.reused.build_id} at ${image.reused.finished_at}`]);
  }
  const packages = image.packages ?? [];
  const shown = packages.slice(0, 12).map(({ name, version }) => `${name} ${version}`);
  const more = packages.length - shown.length + (image.packages_omitted ?? 0);
  if (more > 0) shown.push(`and ${more} more`);
  if (packages.length > 0) rows.push(['  packages', shown.join(', ')]);
  const removed = (image.removed ?? []).map(({ name, version }) => `${name} ${version}`);
  if (removed.length > 0) rows.push(['  removed', someOf(removed)]);
  for (const warning of image.warnings ?? []) rows.push(['  warning', plain(warning)]);
  return table(rows);
}

const advice = {
  request: 'a fault of the request: change it.',
  upstream: 'a fault of a server that the build depends on.',
  service: 'a fault of the service: its operator has to look.',
} as const;
