import { blocked, type Hindrance, waiting } from '../hindrance.ts';
import type { Data } from '../hook-tools.ts';
import type { JujuState } from '../state.ts';
import { hostInUrl } from './url.ts';

/** The relation `amqp` with rabbitmq-server (interface `rabbitmq`). */

export interface Broker {
  /** One URL for each node, with user and password. */
  readonly url: string;
  /** Certificates of the authority of RabbitMQ's own certificate; null where that is a usual one. */
  readonly authorities: string | null;
}

/** The user and virtual host that the relation asks for. RabbitMQ makes nothing before it has both. */
export function brokerRequest({ options }: JujuState): Data {
  return { username: text(options['rabbit-user']), vhost: text(options['rabbit-vhost']) };
}

const text = (value: unknown): string => (typeof value === 'string' && value !== '' ? value : 'imagebuilder');

/** RabbitMQ by the relation: every unit that has made the user. Its leader does, and others repeat the password. */
export function brokerOf(state: JujuState): Broker | Hindrance {
  const [relation] = state.relations.amqp;
  if (relation === undefined) {
    return blocked(`Missing relation amqp: juju integrate ${state.application} rabbitmq-server`);
  }
  const { username = '', vhost = '' } = brokerRequest(state);
  const nodes = relation.units.flatMap(({ data }) => {
    const host = data.vip && isYes(data['ha-vip-only']) ? data.vip : data.hostname || data['private-address'];
    return data.password && host ? [{ host, data, password: data.password }] : [];
  });
  const [first] = nodes;
  if (first === undefined) return waiting('Waiting for rabbitmq-server to make the user (relation amqp)');
  const urls = nodes.map(({ host, data, password }) => {
    const scheme = data.ssl_port ? 'amqps' : 'amqp';
    const login = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;
    return `${scheme}://${login}@${hostInUrl(host)}:${data.ssl_port || '5672'}/${encodeURIComponent(vhost)}`;
  });
  const encoded = nodes.find(({ data }) => data.ssl_port && data.ssl_ca)?.data.ssl_ca;
  const authorities = encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('utf8');
  if (authorities !== null && !authorities.includes('-----BEGIN CERTIFICATE-----')) {
    return blocked('The ssl_ca of rabbitmq-server (relation amqp) is no certificate in PEM: see its option ssl_ca');
  }
  return { url: [...new Set(urls)].join(','), authorities };
}

const isYes = (value: string | undefined): boolean => /^(?:true|yes|1|on)$/i.test(value ?? '');
