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
});
export type EventHeaders = z.infer<typeof EventHeaders>;
