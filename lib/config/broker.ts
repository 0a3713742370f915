import { z } from 'zod';
import { parseBrokerUrls } from '../broker-address.ts';
import { messageOf } from '../errors.ts';
import { bytes, seconds, url, wholeNumber } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

const amqpUrls = z.string().superRefine((text, context) => {
  try {
    parseBrokerUrls(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
  }
});

/** RabbitMQ, its events and its leases. */
export const brokerSettings = {
  amqpUrl: setting(
    'IMAGEBUILDER_AMQP_URL',
    amqpUrls,
    'amqp://127.0.0.1:5672',
    'RabbitMQ, or the nodes of its cluster, separated by commas. With a password in it, use the secret `imagebuilder-amqp-url` instead.',
  ),
  managementUrl: setting(
    'IMAGEBUILDER_AMQP_MANAGEMENT_URL',
    z.union([z.literal(''), url]),
    '',
    'RabbitMQ’s management API, such as `http://rabbitmq.example:15672`. `imagebuilder doctor` asks it for policies that drop jobs, as the user of RabbitMQ, who needs the tag `management`. Empty: it does not look at policies.',
  ),
  leaseMs: setting(
    'IMAGEBUILDER_LEASE',
    seconds,
    '90',
    'Length of a lease, in seconds. Another worker claims a build whose worker has sent no heartbeat for this long.',
  ),
  eventRetentionSeconds: setting(
    'IMAGEBUILDER_EVENT_RETENTION',
    wholeNumber,
    '604800',
    'Seconds for which RabbitMQ keeps events; finished builds are known for as long.',
  ),
  eventRetentionBytes: setting(
    'IMAGEBUILDER_EVENT_RETENTION_SIZE',
    bytes,
    '64M',
    'Size of the events stream beyond which RabbitMQ drops the oldest events. Each function reads the whole stream when it starts, at some 150 µs an event.',
  ),
  historyBytes: setting(
    'IMAGEBUILDER_HISTORY_SIZE',
    z.union([z.literal('').transform(() => null), bytes]),
    '',
    'Memory in which `status` and `build-image` each keep finished builds, compressed, beside the newest 50. The oldest are dropped for those that come. Empty: as much as IMAGEBUILDER_EVENT_RETENTION_SIZE, which has room for every build of the stream.',
  ),
} as const satisfies Declarations;

export type BrokerSettings = SettingsOf<typeof brokerSettings>;
