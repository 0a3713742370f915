import { isTerminal } from '../api/event.ts';
import type { BuildStatus } from '../api/status.ts';
import { plain } from '../text.ts';
import type { Update } from './follow.ts';
import { isDrawable, openLive } from './live.ts';
import { describeChange, describeEnd } from './report.ts';
import { advance, renderView, type View } from './view.ts';

/** The output for a build that is being followed. */
export interface Output {
  /** Stream for the progress; a terminal gets a view that is redrawn, any other stream a line per change. */
  readonly progress: NodeJS.WriteStream;
  /** Stream for the result. */
  readonly result: NodeJS.WritableStream;
  /** Says how to draw: TERM, NO_COLOR and the locale. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Shows a build for people and resolves with its end. */
export async function presentBuild(updates: AsyncIterable<Update>, output: Output): Promise<BuildStatus> {
  const last = isDrawable(output.progress, output.environment)
    ? await onTerminal(updates, output)
    : await asLines(updates, output);
  output.result.write(`${describeEnd(last)}\n`);
  return last;
}

/** Writes one JSON object per change; the last one is the build at its end. */
export async function presentJson(updates: AsyncIterable<Update>, result: NodeJS.WritableStream): Promise<BuildStatus> {
  let shown = '';
  return await lastBuild(updates, (build) => {
    // Time passing is no change, unless the build has ended.
    const { elapsed_seconds: _elapsed, ...rest } = build;
    const text = JSON.stringify(rest);
    if (text === shown) return;
    shown = text;
    result.write(`${JSON.stringify(build)}\n`);
  });
}

async function onTerminal(updates: AsyncIterable<Update>, output: Output): Promise<BuildStatus> {
  using live = openLive(output.progress, output.environment);
  let view: View | undefined;
  const draw = (notice?: string) => {
    const shown = view;
    if (shown !== undefined) live.draw((screen) => renderView(shown, screen, notice));
  };
  return await lastBuild(
    updates,
    (build) => {
      view = advance(view, build, Date.now());
      draw();
    },
    draw,
  );
}

async function asLines(updates: AsyncIterable<Update>, output: Output): Promise<BuildStatus> {
  let previous: BuildStatus | undefined;
  let waiting = false;
  return await lastBuild(
    updates,
    (build) => {
      waiting = false;
      for (const line of describeChange(previous, build)) output.progress.write(`${line}\n`);
      previous = build;
    },
    (message) => {
      if (!waiting) output.progress.write(`${plain(message)}; waiting\n`);
      waiting = true;
    },
  );
}

async function lastBuild(
  updates: AsyncIterable<Update>,
  onBuild: (build: BuildStatus) => void,
  onWaiting: (message: string) => void = () => {},
): Promise<BuildStatus> {
  for await (const update of updates) {
    if (update.kind === 'waiting') {
      onWaiting(update.message);
      continue;
    }
    onBuild(update.build);
    if (isTerminal(update.build.state)) return update.build;
  }
  throw new Error('a followed build always ends with its last state');
}
