import { z } from 'zod';
import { BuildEvent } from './event.ts';
import { field } from './field.ts';

const { build_id, state, attempt } = BuildEvent.shape;

/** Headers of an event’s AMQP message, by which a headers exchange chooses. */
export const EventHeaders = z.object({
  CC: field(
    z.array(z.string()),
    'Further routing keys, `imagebuilder.ticket.TICKET` and `imagebuilder.build.BUILD_ID`; absent where a queue gets the events without an exchange.',
    ['imagebuilder.ticket.T-77', 'imagebuilder.build.e7233533-d1cc-46ef-b48c-b22675d3e962'],
  ).optional(),
  ticket_id: field(z.string(), 'The ticket as text, cut to 255 bytes.', 'T-77'),
  build_id,
  state,
  attempt,
  step: field(z.string(), 'The step that the build is at; absent outside the steps.', 'install').optional(),
  traceparent: field(
    z.string(),
    'The operation that the event comes from, the submission or an attempt, in the trace of the submission (W3C Trace Context); absent for a build of an earlier version.',
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  ).optional(),
  tracestate: field(
    z.string(),
    'The `tracestate` of the submission, where it had a valid one of at most 512 characters.',
    'vendor=t61rcWkgMzE',
  ).optional(),
});
export type EventHeaders = z.infer<typeof EventHeaders>;
