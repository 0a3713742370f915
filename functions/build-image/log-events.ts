import { isTerminal } from '#lib/api/event.ts';
import { firstLogWords, logEndEvent, logEventsOf } from '#lib/api/log-stream.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import type { LogCopy } from '#lib/queue/log-copy.ts';

/** The log of a build as server-sent events, while the build runs and as long as RabbitMQ has its lines. */

/** Time without an event after which a comment shows that the stream lives. */
const heartbeatMs = 15_000;
/** Time after the end of a build in which the last lines of its log may still come. */
const lastLinesMs = 3_000;

const heartbeat = ': still here\n\n';

export interface FollowedBuild {
  readonly buildId: string;
  /** Place in the log where the events begin. */
  readonly at: number;
  /** Aborts when the caller has gone. */
  readonly gone: AbortSignal;
}

/** Events of the log of a build as its lines come, and one that says how the build has ended. */
export async function* liveEvents(
  { ledger, logs }: Pick<Broker, 'ledger' | 'logs'>,
  { buildId, at: first, gone }: FollowedBuild,
): AsyncGenerator<string, void> {
  yield firstLogWords;
  let at = first;
  let copy: (LogCopy & Disposable) | undefined;
  let endedAtMs: number | undefined;
  try {
    while (!gone.aborted) {
      const build = ledger.get(buildId);
      if (build === undefined || build.supersededBy !== null) return;
      const { attempt } = build;
      try {
        copy ??= await openCopy(logs, build);
      } catch (error) {
        // Its caller comes again.
        return yield `: ${toImageBuilderError(error).message.replaceAll('\n', ' ')}\n\n`;
      }
      if (copy !== undefined) at = Math.min(at, copy.size);
      for (let part = await copy?.read(at); part; part = await copy?.read(at)) {
        yield logEventsOf(part.text, part.from);
        at = part.from + part.text.length;
      }
      if (copy?.isCut) return;
      if (isTerminal(build.state)) {
        endedAtMs ??= Date.now();
        const isWhole = attempt === 0 || (copy?.endedAttempt ?? 0) >= attempt;
        if (isWhole || Date.now() - endedAtMs > lastLinesMs) return yield logEndEvent(build, at);
      }
      const patienceMs = endedAtMs === undefined ? heartbeatMs : lastLinesMs;
      if (!(await change(ledger, buildId, copy, at, gone, patienceMs))) yield heartbeat;
    }
  } finally {
    copy?.[Symbol.dispose]();
  }
}

async function openCopy(logs: Broker['logs'], { buildId, startedAt, finishedAt }: BuildView) {
  return startedAt === null ? undefined : await logs.open({ buildId, startedAt, finishedAt });
}

/** Waits until the build or its log has changed: true. False: `patienceMs` was over, or the caller has gone. */
async function change(
  ledger: Broker['ledger'],
  buildId: string,
  copy: LogCopy | undefined,
  at: number,
  gone: AbortSignal,
  patienceMs: number,
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const end = () => resolve(false);
  const changed = () => resolve(true);
  const unfollow = [ledger.onChange(buildId, changed), copy?.onChange(changed)];
  const timer = setTimeout(end, patienceMs);
  gone.addEventListener('abort', end, { once: true });
  try {
    // It may have come while the last events were on their way to the caller.
    if (gone.aborted || (copy !== undefined && (copy.size > at || copy.isCut))) return !gone.aborted;
    return await promise;
  } finally {
    clearTimeout(timer);
    gone.removeEventListener('abort', end);
    for (const stop of unfollow) stop?.();
  }
}
