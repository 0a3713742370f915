import type { BuildEvent } from '#lib/api/event.ts';

/** An event with every field that it must have; of a build that waits, unless `values` say otherwise. */
export function buildEvent(values: Partial<BuildEvent>): BuildEvent {
  return {
    build_id: '00000000-0000-4000-8000-000000000001',
    ticket_id: 1,
    progress_trigger: 'testbuild-1-imagebuilder',
    sequence: 0,
    attempt: 0,
    time: '2026-01-01T00:00:00.000Z',
    worker: null,
    state: 'queued',
    step: null,
    message: '',
    current: null,
    total: null,
    progress: 0,
    ...values,
  };
}

/** The end of a build that was completed. */
export function completedEvent(values: Partial<BuildEvent> = {}): BuildEvent {
  return buildEvent({
    ...{ sequence: 9, attempt: 1, time: '2026-01-02T03:04:05.000Z', worker: 'worker-a' },
    ...{ state: 'completed', message: 'the image is at file:///x', progress: 1, ...values },
  });
}
