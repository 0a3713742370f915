import { type BuildEvent, isTerminal } from '../api/event.ts';
import type { BuildStatus, Status } from '../api/status.ts';
import type { BuildView } from './build.ts';
import type { Ledger } from './ledger.ts';

/** A build as `status` shows it. */
export function toBuildStatus(build: BuildView, now: Date, options: { readonly logTail?: boolean } = {}): BuildStatus {
  const { event } = build;
  const end = build.finishedAt === null ? now.getTime() : Date.parse(build.finishedAt);
  return {
    build_id: build.buildId,
    ticket_id: build.ticketId,
    progress_trigger: build.progressTrigger,
    caller: build.caller,
    state: build.state,
    step: event.step,
    message: event.message,
    current: event.current,
    total: event.total,
    progress: event.progress,
    attempt: build.attempt,
    worker: event.worker,
    queued_at: build.queuedAt,
    started_at: build.startedAt,
    updated_at: build.updatedAt,
    finished_at: build.finishedAt,
    // Clocks of different machines differ: the time is never negative.
    elapsed_seconds: Math.max(0, Math.round((end - Date.parse(build.queuedAt)) / 100) / 10),
    cancelling: build.cancelling && !isTerminal(build.state),
    ...(options.logTail === true ? { log_tail: [...build.logTail] } : {}),
    ...resultOf(event),
  };
}

/**
 * The builds and workers of a ledger, sorted as `status` shows them. Leaves out builds that are not `visible`; `filter`
 * narrows the lists of builds.
 */
export function toBuildLists(
  ledger: Pick<Ledger, 'builds' | 'workers'>,
  now: Date,
  options: {
    readonly visible?: (build: BuildView) => boolean;
    readonly filter?: (build: BuildView) => boolean;
    readonly logTail?: boolean;
  } = {},
): Pick<Status, 'running' | 'queued' | 'finished' | 'workers'> {
  const all = ledger.builds(now).filter(options.visible ?? (() => true));
  const shown = all.filter(options.filter ?? (() => true));
  const select = (wanted: (build: BuildView) => boolean) =>
    shown.filter(wanted).map((build) => toBuildStatus(build, now, { logTail: options.logTail ?? false }));
  return {
    running: select((build) => build.state === 'running'),
    queued: select((build) => build.state === 'queued'),
    finished: select((build) => isTerminal(build.state)).reverse(),
    workers: ledger.workers().map(({ name, lastSeenAt, guest }) => ({
      name,
      last_seen: lastSeenAt,
      builds: all.filter((build) => build.owner === name).map((build) => build.buildId),
      ...(guest === null ? {} : { guest }),
    })),
  };
}

function resultOf(event: BuildEvent): Pick<BuildStatus, 'image' | 'error'> {
  return {
    ...(event.image === undefined ? {} : { image: event.image }),
    ...(event.error === undefined ? {} : { error: event.error }),
  };
}
