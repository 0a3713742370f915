import { type BuildEvent, isTerminal } from '../api/event.ts';
import { showRequest } from '../api/kept-request.ts';
import type { BuildCounts, BuildStatus } from '../api/status.ts';
import type { BuildView } from './build.ts';

/**
 * A build as `status` and lists show it; with `details`, as it is shown where it alone was asked for. `place`: its place
 * in the queue, where it waits.
 */
export function toBuildStatus(
  build: BuildView,
  now: Date,
  options: { readonly details?: boolean; readonly place?: number | undefined } = {},
): BuildStatus {
  const { event } = build;
  const end = build.finishedAt === null ? now.getTime() : Date.parse(build.finishedAt);
  return {
    build_id: build.buildId,
    ticket_id: build.ticketId,
    progress_trigger: build.progressTrigger,
    caller: build.caller,
    ...(build.series === null ? {} : { series: build.series }),
    state: build.state,
    ...(options.place === undefined ? {} : { place_in_queue: options.place }),
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
    ...(options.details === true ? detailsOf(build) : {}),
    ...resultOf(event),
  };
}

function detailsOf({ logTail, request, retryOf, attempts, steps }: BuildView): Partial<BuildStatus> {
  return {
    log_tail: [...logTail],
    ...(request === null ? {} : { request: showRequest(request) }),
    ...(retryOf === null ? {} : { retry_of: retryOf }),
    steps: [...steps],
    attempts: [...attempts],
  };
}

function resultOf(event: BuildEvent): Pick<BuildStatus, 'image' | 'artifacts' | 'error'> {
  return {
    ...(event.image === undefined ? {} : { image: event.image }),
    ...(event.artifacts === undefined ? {} : { artifacts: event.artifacts }),
    ...(event.error === undefined ? {} : { error: event.error }),
  };
}

/** As many of the builds, in their order, as have room in so many bytes of JSON, and always the first. */
export function takeWithin(builds: Iterable<BuildStatus>, maximumBytes: number): BuildStatus[] {
  const taken: BuildStatus[] = [];
  let bytes = 0;
  for (const build of builds) {
    bytes += Buffer.byteLength(JSON.stringify(build));
    if (taken.length > 0 && bytes > maximumBytes) break;
    taken.push(build);
  }
  return taken;
}

export const noBuilds: Readonly<BuildCounts> = { queued: 0, running: 0, completed: 0, failed: 0, cancelled: 0 };
