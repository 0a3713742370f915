import { z } from 'zod';
import { type BrokerAddress, parseBrokerUrls } from '../broker-address.ts';
import { createConnections } from '../http/connections.ts';
import { readText } from '../http/response.ts';
import { queues } from '../queue/topology.ts';
import { plain, someOf } from '../text.ts';
import type { Trust } from '../trust.ts';
import { version } from '../version.ts';
import type { Finding } from './finding.ts';

/** Looks for policies of RabbitMQ that can take jobs or events away, by its management API: AMQP does not show them. */

const what = 'policies of RabbitMQ';
/** The keys that drop messages or queues. RabbitMQ puts the arguments of a queue before all other keys of a policy. */
const droppingKeys = ['message-ttl', 'max-length', 'max-length-bytes', 'expires', 'delivery-limit', 'max-age'] as const;
const maximumBytes = 1024 * 1024;

const QueueState = z.object({
  policy: z.string().nullish(),
  operator_policy: z.string().nullish(),
  // An empty list stands for an empty object where no policy applies.
  effective_policy_definition: z.union([z.record(z.string(), z.unknown()), z.array(z.never())]).nullish(),
});

export interface PolicyOptions {
  readonly amqpUrl: string;
  /** Such as `http://rabbitmq.example:15672`; empty: policies are not looked at. */
  readonly managementUrl: string;
  readonly trust: Trust;
  readonly signal: AbortSignal;
}

/**
 * The finding; none where there is no management API to ask. Such policies are no hindrance: builds run all the same.
 * Throws UpstreamError where the API cannot be reached, and what JSON and the schema say of another answer.
 */
export async function lookAtPolicies({ amqpUrl, managementUrl, trust, signal }: PolicyOptions): Promise<Finding[]> {
  if (managementUrl === '') return [];
  const [address] = parseBrokerUrls(amqpUrl);
  const limits = { connectTimeoutMs: 5_000, stallTimeoutMs: 5_000 };
  using connections = createConnections({ ...limits, trust, userAgent: `imagebuilder/${version}` });
  const found: string[] = [];
  const names = new Set<string>();
  for (const queue of Object.values(queues)) {
    const path = ['api', 'queues', address.vhost, queue].map(encodeURIComponent).join('/');
    const url = new URL(path, managementUrl.endsWith('/') ? managementUrl : `${managementUrl}/`);
    using response = await connections.send(url, { headers: { authorization: authorization(address) }, signal });
    if (response.status === 404) continue;
    if (response.status !== 200) return [refused(response.status)];
    const { text } = await readText(response, maximumBytes);
    const state = QueueState.parse(JSON.parse(text));
    const definition = new Map(Object.entries(state.effective_policy_definition ?? {}));
    const keys = droppingKeys.filter((key) => definition.has(key));
    if (keys.length === 0) continue;
    for (const name of [state.policy, state.operator_policy]) if (name) names.add(plain(name));
    found.push(`${queue} (${keys.map((key) => `${key} ${plain(String(definition.get(key)))}`).join(', ')})`);
  }
  if (found.length === 0) return [{ what, ok: true, detail: 'none of them drops messages of Image Builder' }];
  const detail = `they drop messages or queues of Image Builder: ${found.join(', ')}`;
  const todo = `leave ^imagebuilder\\. out of these policies of RabbitMQ: ${someOf([...names])} (docs/deploying.md, "Policies of RabbitMQ")`;
  return [{ what, ok: true, detail, todo }];
}

function authorization({ user, password }: BrokerAddress): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

function refused(status: number): Finding {
  const detail = `not looked at: the management API answers with status ${status}`;
  const todo = 'give the user of RabbitMQ the tag `management` (rabbitmqctl set_user_tags), to look at its policies';
  return status === 401 || status === 403 ? { what, ok: true, detail, todo } : { what, ok: true, detail };
}
