import { styleText } from 'node:util';
import { type BuildStep, buildSteps } from '../api/event.ts';
import type { BuildStatus } from '../api/status.ts';
import { formatSeconds, plain, truncate } from '../text.ts';

/** The view of a running build in a terminal: a line per step with a bar, and the tail of the log. */

export interface View {
  readonly build: BuildStatus;
  /** When each step of this attempt was first seen, in milliseconds. A very short step may never be seen. */
  readonly stepsSeenMs: Readonly<Partial<Record<BuildStep, number>>>;
  readonly seenMs: number;
}

export interface Screen {
  readonly columns: number;
  readonly color: boolean;
  /** False: only ASCII. */
  readonly unicode: boolean;
}

const logLines = 6;
const barWidth = 24;

/** The view after one more look at the build. A new attempt begins from the first step. */
export function advance(view: View | undefined, build: BuildStatus, nowMs: number): View {
  const same = view !== undefined && view.build.attempt === build.attempt;
  const seen = same ? view.stepsSeenMs : {};
  const stepsSeenMs = build.step === null || build.step in seen ? seen : { ...seen, [build.step]: nowMs };
  return { build, stepsSeenMs, seenMs: nowMs };
}

/** The text of a view. `notice` is a line about the connection. */
export function renderView(view: View, screen: Screen, notice?: string): string {
  const { build } = view;
  const style = painter(screen.color);
  const attempt = build.attempt > 1 ? `  attempt ${build.attempt}` : '';
  const state = build.cancelling ? 'cancelling' : build.state;
  const heading = `Build ${build.build_id}  ticket ${plain(String(build.ticket_id))}  ${state}${attempt}`;
  const lines = [style('bold', truncate(heading, screen.columns))];
  for (const step of buildSteps) lines.push(stepLine(view, step, screen));
  lines.push(
    fit(
      `  ${'total'.padEnd(9)}${bar(build.progress, screen)} ${percent(build.progress)}  ${formatSeconds(build.elapsed_seconds)}`,
      screen,
    ),
  );
  if (build.step === null && build.message !== '') lines.push(fit(`  ${plain(build.message)}`, screen));
  for (const line of (build.log_tail ?? []).slice(-logLines)) {
    lines.push(style('dim', fit(`  ${screen.unicode ? '│' : '|'} ${plain(line)}`, screen)));
  }
  if (notice !== undefined) lines.push(style('yellow', fit(`  ${plain(notice)}; waiting`, screen)));
  return lines.join('\n');
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
    return `${style('green', screen.unicode ? '✓' : '+')} ${name}${took}`.trimEnd();
  }
  if (index > at) return style('dim', `  ${step}`);
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

function fit(text: string, screen: Screen, indent = 0): string {
  return truncate(text, screen.columns - indent);
}

type Style = 'bold' | 'dim' | 'green' | 'red' | 'cyan' | 'yellow';

function painter(color: boolean): (style: Style, text: string) => string {
  return (style, text) => (color ? styleText(style, text, { validateStream: false }) : text);
}
