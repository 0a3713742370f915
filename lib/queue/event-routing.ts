import type { BuildEvent } from '../api/event.ts';
import { type TraceContext, traceHeadersOf } from '../trace-context.ts';
import { toShortString } from './short-string.ts';

/** How an event finds its way through the caller's exchange: by its routing keys, or by its headers. */
export interface EventRouting {
  readonly key: string;
  /**
   * `CC` holds further routing keys (https://www.rabbitmq.com/docs/sender-selected): a queue that is bound by several of
   * them gets the event once.
   */
  readonly headers: Readonly<Record<string, string | number | readonly string[]>>;
}

/**
 * Names and values are short strings; those of the request are cut to 255 bytes. `trace`: the operation that the event
 * comes from, for which headers are no way to choose by.
 */
export function routingOf(
  { build_id, ticket_id, state, step, attempt }: BuildEvent,
  trace: TraceContext | null,
): EventRouting {
  const ticket = toShortString(String(ticket_id));
  return {
    key: `imagebuilder.${state}`,
    headers: {
      CC: [toShortString(`imagebuilder.ticket.${ticket}`), `imagebuilder.build.${build_id}`],
      ...{ ticket_id: ticket, build_id, state, attempt },
      ...(step !== null && { step }),
      ...(trace !== null && traceHeadersOf(trace)),
    },
  };
}
