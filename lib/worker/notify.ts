import type { BuildEvent } from '../api/event.ts';
import type { BuildJob } from '../queue/job.ts';
import type { TraceContext } from '../trace-context.ts';
import type { Deliveries } from './deliveries.ts';

/**
 * Starts the delivery of a build's end to the callback of its job, if it has one. The worker does not wait for it.
 * `trace`: the operation that it comes from.
 */
export function deliverCallback(
  job: BuildJob,
  event: BuildEvent,
  trace: TraceContext | null,
  deliveries: Pick<Deliveries, 'add'>,
): void {
  if (job.callback === null) return;
  deliveries.add({
    callback: { url: job.callback.url, callId: job.callback.call_id, trace },
    event,
    durationSeconds: (Date.parse(event.time) - Date.parse(job.submitted_at)) / 1000,
  });
}
