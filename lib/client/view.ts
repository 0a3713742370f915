import { styleText } from 'node:util';
import { type BuildStep, buildSteps, usualSteps } from '../api/event.ts';
import type { BuildStatus } from '../api/status.ts';
import { formatSeconds, plain } from '../text.ts';
import { truncate } from '../width.ts';
import { headingOf } from './heading.ts';
import type { Screen } from './live.ts';

/** The view of a running build in a terminal: a line per step with a bar, and the tail of the log. */

export interface View {
  readonly build: BuildStatus;
  /** When each step of this attempt was first seen, in milliseconds. A very short step may never be seen. */
  readonly stepsSeenMs: Readonly<Partial<Record<BuildStep, number>>>;
  readonly seenMs: number;
}

const logLines = 6;
/** Lines of the log that are shown rather than steps that are over or to come. */
const leastLogLines = 2;
const barWidth = 24;

/** The view after one more look at the build. A new attempt begins from the first step. */
export function advance(view: View | undefined, build: BuildStatus, nowMs: number): View {
  const same = view !== undefined && view.build.attempt === build.attempt;
  const seen = same ? view.stepsSeenMs : {};
  const stepsSeenMs = build.step === null || build.step in seen ? seen : { ...seen, [build.step]: nowMs };
  return { build, stepsSeenMs, seenMs: nowMs };
}

/**
 * The text of a view: no line is wider than the screen, and one row stays free. Where rows are few, lines of the log go
 * first, then steps far from the current one. `notice` is a line about the connection.
 */
export function renderView(view: View, screen: Screen, notice?: string): string {
  const { build } = view;
  const style = painter(screen.color);
  const tail = [
    fit(
      `  ${'total'.padEnd(9)}${bar(build.progress, screen)} ${percent(build.progress)}  ${formatSeconds(build.elapsed_seconds)}`,
      screen,
    ),
    ...(build.step === null && build.message !== '' ? [fit(`  ${plain(build.message)}`, screen)] : []),
  ];
  const notices = notice === undefined ? [] : [style('yellow', fit(`  ${plain(notice)}; waiting`, screen))];
  const log = (build.log_tail ?? []).slice(-logLines);
  const heading = headingOf(build, screen.columns, cutMark(screen));
  const room = screen.rows - 1 - tail.length - notices.length;
  const all = stepsOf(view);
  const whole = heading.full.length + all.length + Math.min(leastLogLines, log.length) <= room;
  const headingLines = (whole ? heading.full : [heading.short]).map((line) => style('bold', fit(line, screen)));
  const left = room - headingLines.length;
  const steps = stepsAround(all, build.step, left - Math.min(leastLogLines, log.length));
  const shownLog = log.slice(log.length - Math.max(0, Math.min(log.length, left - steps.length)));
  const lines = [
    ...headingLines,
    ...steps.map((step) => stepLine(view, step, screen)),
    ...tail,
    ...shownLog.map((line) => style('dim', fit(`  ${screen.unicode ? '│' : '|'} ${plain(line)}`, screen))),
    ...notices,
  ];
  // On the smallest screens the end is worth the most.
  return lines.slice(-Math.max(1, screen.rows - 1)).join('\n');
}

/** The steps of the build, as far as they are known. */
function stepsOf({ build, stepsSeenMs }: View): readonly BuildStep[] {
  const begun = new Set((build.steps ?? []).map(({ step }) => step));
  const isBegun = (step: BuildStep) => build.step === step || stepsSeenMs[step] !== undefined || begun.has(step);
  const last = buildSteps.findLastIndex(isBegun);
  // An image that is used again goes without the steps in which it was made.
  const isLeftOut = (index: number) => isBegun('reuse') && index < last;
  return buildSteps.filter((step, index) => isBegun(step) || (usualSteps.includes(step) && !isLeftOut(index)));
}

/** So many of the steps, but at least one, with the current one among them. */
function stepsAround(all: readonly BuildStep[], current: BuildStep | null, count: number): readonly BuildStep[] {
  const shown = Math.max(1, Math.min(all.length, count));
  const at = current === null ? 0 : all.indexOf(current);
  const before = Math.min(1, shown - 1);
  const start = Math.max(0, Math.min(at - before, all.length - shown));
  return all.slice(start, start + shown);
}

function stepLine(view: View, step: BuildStep, screen: Screen): string {
  const { build, stepsSeenMs, seenMs } = view;
  const style = painter(screen.color);
  const at = build.step === null ? -1 : buildSteps.indexOf(build.step);
  const index = buildSteps.indexOf(step);
  const name = step.padEnd(9);
  if (build.state === 'completed' || index < at) {
    const next = buildSteps
      .slice(index + 1)
      .map((later) => stepsSeenMs[later])
      .find((time) => time !== undefined);
    const seen = stepsSeenMs[step];
    const took = seen === undefined ? '' : formatSeconds(((next ?? seenMs) - seen) / 1000);
    return `${style('green', screen.unicode ? '✓' : '+')} ${fit(`${name}${took}`.trimEnd(), screen, 2)}`;
  }
  if (index > at) return style('dim', fit(`  ${step}`, screen));
  if (build.state === 'failed' || build.state === 'cancelled') {
    return `${style('red', screen.unicode ? '✗' : 'x')} ${fit(`${name}${plain(build.message)}`, screen, 2)}`;
  }
  const fraction = stepFraction(build);
  const progress = fraction === undefined ? '' : `${bar(fraction, screen)} ${percent(fraction)}  `;
  return `${style('cyan', screen.unicode ? '▸' : '>')} ${fit(`${name}${progress}${plain(build.message)}`, screen, 2)}`;
}

/** How far the step is, 0 to 1; undefined where that is not known. */
export function stepFraction(build: BuildStatus): number | undefined {
  if (build.current === null || build.total === null || build.total <= 0) return undefined;
  return Math.min(1, build.current / build.total);
}

/** `  7 %`: always of the same width, so that the text after it does not jump. */
export function percent(fraction: number): string {
  return `${String(Math.floor(fraction * 100)).padStart(3)} %`;
}

function bar(fraction: number, screen: Screen): string {
  const full = Math.round(Math.max(0, Math.min(1, fraction)) * barWidth);
  const [done, open] = screen.unicode ? ['█', '░'] : ['#', '.'];
  return `[${(done ?? '').repeat(full)}${(open ?? '').repeat(barWidth - full)}]`;
}

function fit(text: string, { columns, unicode }: Screen, indent = 0): string {
  return truncate(text, columns - indent, cutMark({ unicode }));
}

/** The sign in place of what was cut off. */
export function cutMark({ unicode }: Pick<Screen, 'unicode'>): string {
  return unicode ? '…' : '~';
}

type Style = 'bold' | 'dim' | 'green' | 'red' | 'cyan' | 'yellow';

function painter(color: boolean): (style: Style, text: string) => string {
  return (style, text) => (color ? styleText(style, text, { validateStream: false }) : text);
}
