import type { BuildEvent } from '../api/event.ts';
import type { BuildJob } from './job.ts';

/** The part of a job that an event repeats. */
interface EventSubject extends Pick<BuildJob, 'build_id'> {
  readonly request: Pick<BuildJob['request'], 'ticket_id' | 'progress_trigger'>;
}

/** An event of a build outside its steps: `values` are its content, and all other fields are empty. */
export function eventOf(
  { build_id, request }: EventSubject,
  values: Pick<BuildEvent, 'sequence' | 'attempt' | 'worker' | 'state' | 'message'> & { readonly time?: string },
): BuildEvent {
  return {
    build_id,
    ticket_id: request.ticket_id,
    progress_trigger: request.progress_trigger,
    time: new Date().toISOString(),
    step: null,
    current: null,
    total: null,
    progress: 0,
    ...values,
  };
}
