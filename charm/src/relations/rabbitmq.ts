import { blocked, type Hindrance, waiting } from '../hindrance.ts';
import type { Data } from '../hook-tools.ts';
import type { JujuState } from '../state.ts';
import { certificatesOf, hostInUrl, isHost, portOf } from './address.ts';

/** The relation `amqp` with rabbitmq-server (interface `rabbitmq`). */

export interface Broker {
  /** One URL for each node, with user and password. */
  readonly url: string;
  /** Certificates of the authorities of RabbitMQ's own certificates; null where these are the usual ones. */
  readonly authorities: string | null;
}

/** A unit of RabbitMQ that has made the user. */
interface Node {
  readonly hosts: readonly string[];
  readonly password: string;
  /** Port for TLS; null without. */
  readonly tlsPort: number | null;
  readonly authorities: string | null;
}

/** Port of RabbitMQ without TLS. The relation has no key for it. */
const plainPort = 5672;

/** The user and virtual host that the relation asks for. RabbitMQ makes nothing before it has both. */
export function brokerRequest({ options }: JujuState): Data {
  return { username: text(options['rabbit-user']), vhost: text(options['rabbit-vhost']) };
}

const text = (value: unknown): string => (typeof value === 'string' && value !== '' ? value : 'imagebuilder');

/**
 * RabbitMQ by the relation: every unit that has made the user. Its leader does, and others repeat the password. A unit whose
 * data make no address is left out, unless all are like that. Where one node has TLS, those without are not used: the
 * password would cross the network readable.
 */
export function brokerOf(state: JujuState): Broker | Hindrance {
  const [relation] = state.relations.amqp;
  if (relation === undefined) {
    return blocked(`Missing relation amqp: juju integrate ${state.application} rabbitmq-server`);
  }
  const found = relation.units.flatMap(({ data }) => readNode(data) ?? []);
  const [fault] = found.filter((one) => 'status' in one);
  const nodes = found.filter((one) => 'hosts' in one);
  if (nodes.length === 0) {
    return fault ?? waiting('Waiting for rabbitmq-server to make the user (relation amqp)');
  }
  const secure = nodes.filter(({ tlsPort }) => tlsPort !== null);
  const used = secure.length > 0 ? secure : nodes;
  const authorities = new Set(used.flatMap((node) => node.authorities ?? []));
  return {
    url: [...new Set(used.flatMap((node) => urlsOf(node, state)))].join(','),
    authorities: authorities.size === 0 ? null : [...authorities].join('\n'),
  };
}

/** Null for a unit that has not made the user yet. */
function readNode(data: Data): Node | Hindrance | null {
  const host = data.vip && isYes(data['ha-vip-only']) ? data.vip : data.hostname || data['private-address'];
  if (!data.password || !host) return null;
  const hosts = host.split(/[\s,]+/).filter((one) => one !== '');
  if (hosts.length === 0 || !hosts.every(isHost)) {
    return blocked('The hostname of rabbitmq-server (relation amqp) is no host: see juju show-unit rabbitmq-server/0');
  }
  const tlsPort = data.ssl_port ? portOf(data.ssl_port) : null;
  if (data.ssl_port && tlsPort === null) {
    return blocked('The ssl_port of rabbitmq-server (relation amqp) is no port: see its option ssl_port');
  }
  const authorities = tlsPort !== null && data.ssl_ca ? certificatesOf(data.ssl_ca) : null;
  if (tlsPort !== null && data.ssl_ca && authorities === null) {
    return blocked('The ssl_ca of rabbitmq-server (relation amqp) is no certificate in PEM: see its option ssl_ca');
  }
  return { hosts, password: data.password, tlsPort, authorities };
}

function urlsOf({ hosts, password, tlsPort }: Node, state: JujuState): string[] {
  const { username = '', vhost = '' } = brokerRequest(state);
  const login = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;
  const scheme = tlsPort === null ? 'amqp' : 'amqps';
  const port = Number(state.options['rabbit-port']) || (tlsPort ?? plainPort);
  return hosts.map((host) => `${scheme}://${login}@${hostInUrl(host)}:${port}/${encodeURIComponent(vhost)}`);
}

const isYes = (value: string | undefined): boolean => /^(?:true|yes|1|on)$/i.test(value ?? '');
