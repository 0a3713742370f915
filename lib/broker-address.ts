import { trimEndOf } from './text.ts';

/** One node of RabbitMQ, and how to log in there. Nothing of it but `where` may be shown. */
export interface BrokerAddress {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly vhost: string;
  /** `external`: the client certificate says who the user is. */
  readonly mechanism: 'plain' | 'external';
  /** Values of the query that amqplib takes; null for its own. */
  readonly heartbeatSeconds: number | null;
  readonly frameMax: number | null;
  readonly channelMax: number | null;
  /** The URL without user, password and query. */
  readonly where: string;
}

/** For TLS to RabbitMQ, as PEM; null for none. */
export interface BrokerCertificates {
  /** The only authorities that are trusted; null for those that Node knows. */
  readonly ca: readonly string[] | null;
  readonly certificate: string | null;
  readonly key: string | null;
}

/**
 * Reads one or more AMQP URLs, separated by commas or blanks: nodes of one cluster, tried in turn. User, password and
 * virtual host that a later URL leaves out are those of the first. They are percent-encoded UTF-8, as in any URL. The
 * format is https://www.rabbitmq.com/docs/uri-spec. Throws an Error whose message quotes nothing of the text.
 */
export function parseBrokerUrls(text: string): [BrokerAddress, ...BrokerAddress[]] {
  const [beginning = '', ...rest] = text.trim().split(/(?=\bamqps?:\/\/)/i);
  const first = parseOne(trimEndOf(beginning, ', \t\r\n'), null);
  return [first, ...rest.map((part) => parseOne(trimEndOf(part, ', \t\r\n'), first))];
}

/** Every form in which a password of these URLs may appear: as it is written, and as it is sent. Never throws. */
export function passwordsOf(text: string): string[] {
  const found = new Set<string>();
  for (const part of text.trim().split(/(?=\bamqps?:\/\/)/i)) {
    const encoded = URL.parse(trimEndOf(part, ', \t\r\n'))?.password ?? '';
    const start = part.indexOf(':', part.indexOf('://') + 3);
    const end = part.lastIndexOf('@');
    const written = start > 0 && end > start ? part.slice(start + 1, end) : '';
    for (const form of [encoded, decode(encoded), written, decode(written)]) if (form !== '') found.add(form);
  }
  return [...found];
}

function parseOne(text: string, first: BrokerAddress | null): BrokerAddress {
  const url = URL.parse(text);
  const tls = url?.protocol === 'amqps:';
  if (url === null || (!tls && url.protocol !== 'amqp:') || url.hostname === '') throw new Error(malformed);
  // A `/`, `?` or `#` in a password ends the host too early, which may then even look like one.
  const rest = `${url.pathname}${url.search}${url.hash}`;
  if (url.hash !== '' || rest.includes('@') || url.pathname.lastIndexOf('/') > 0) throw new Error(malformed);
  const query = url.searchParams;
  const mechanism = query.get('auth_mechanism')?.toLowerCase() ?? 'plain';
  if (mechanism !== 'plain' && mechanism !== 'external')
    throw new Error('must have plain or external as auth_mechanism');
  const own = url.username !== '' || url.password !== '';
  const path = url.pathname.slice(1);
  const port = url.port === '' ? '' : `:${url.port}`;
  return {
    ...{ tls, mechanism, host: url.hostname.replace(/^\[|\]$/g, '') },
    port: url.port === '' ? (tls ? 5671 : 5672) : Number(url.port),
    user: own ? decode(url.username) : (first?.user ?? 'guest'),
    password: own ? decode(url.password) : (first?.password ?? 'guest'),
    vhost: path === '' ? (first?.vhost ?? '/') : decode(path),
    heartbeatSeconds: numberOf(query.get('heartbeat')),
    frameMax: numberOf(query.get('frameMax')),
    channelMax: numberOf(query.get('channelMax')),
    where: `${url.protocol}//${url.hostname}${port}${url.pathname}`,
  };
}

const malformed =
  'must be an amqp or amqps URL, or several; in user, password and virtual host, characters such as / ? # @ % are written as percent codes (%2F)';

function numberOf(text: string | null): number | null {
  return text === null || !/^[0-9]+$/.test(text) ? null : Number(text);
}

/** Percent codes as UTF-8; a text whose codes are none as it is written. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
