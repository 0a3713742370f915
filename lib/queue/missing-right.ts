import { amqpCode, brokerText, rights } from './topology.ts';

/** The words of RabbitMQ where it refuses something; RabbitMQ 3.10 does not name the right. */
const refused =
  /(?:(configure|write|read) )?access to (queue|exchange) '([^']*)' in vhost '([^']*)' refused for user '([^']*)'/;

/** A command that gives a user of RabbitMQ the rights that it needs. */
const giveRights = (vhost: string, user: string) =>
  `rabbitmqctl set_permissions -p '${vhost}' '${user}' '${rights.configure}' '${rights.write}' '${rights.read}', with the exchanges of callers beside the second pattern`;

/**
 * The right that the user of RabbitMQ lacks, by RabbitMQ's own words, and the command that gives it; null for any other error.
 * `right`: the one that was used.
 */
export function describeMissingRight(error: unknown, right: keyof typeof rights): string | null {
  if (amqpCode(error) !== 403) return null;
  const [, named = right, kind, name, vhost, user] = refused.exec(brokerText(error)) ?? [];
  if (kind === undefined || name === undefined || vhost === undefined || user === undefined) return null;
  const what = `the ${kind} ${name === '' ? 'amq.default' : name}`;
  return `RabbitMQ does not give its user ${user} the right "${named}" on ${what} in the virtual host ${vhost}: ${giveRights(vhost, user)}`;
}
