import { messageOf } from '../errors.ts';

/** The queues of Image Builder. docs/deploying.md says which rights on them each function needs. */
export const queues = {
  /** Jobs that wait for a worker. */
  builds: 'imagebuilder.builds',
  /** Copies of the jobs of claimed builds; one comes back to `builds` when its lease is over. */
  leases: 'imagebuilder.leases',
  /** Jobs that were given up, for an operator to look at. */
  buried: 'imagebuilder.buried',
  /**
   * RabbitMQ puts jobs here that it drops from `builds`: because a policy sets an age or a number for its messages, or at
   * `deliveryLimit`. They go back to `builds` (`dead-letters.ts`).
   */
  dead: 'imagebuilder.dead',
  /** The log of all events: a stream. */
  events: 'imagebuilder.events',
  /** The logs of running builds: a stream. */
  logs: 'imagebuilder.logs',
} as const;

/**
 * Regular expressions, as RabbitMQ takes them, for the rights of a user who may declare the queues and use all of them.
 * Every message to a queue goes through the default exchange, which RabbitMQ calls `amq.default` here. Callers' exchanges
 * come on top of it.
 */
export const rights = {
  configure: '^imagebuilder\\.',
  write: '^amq\\.default$',
  read: '^imagebuilder\\.',
} as const;

/** The reply code of an AMQP error (404, 406, …), undefined for any other. */
export function amqpCode(error: unknown): number | undefined {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'number' ? code : undefined;
}

/** The broker's own words in an AMQP error, without amqplib's around them. */
export function brokerText(error: unknown): string {
  const message = messageOf(error);
  const mark = 'with message "';
  const start = message.indexOf(mark);
  return start >= 0 && message.endsWith('"') ? message.slice(start + mark.length, -1) : message;
}
