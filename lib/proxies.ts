import { BlockList, isIP, isIPv4 } from 'node:net';
import { trimEndOf } from './text.ts';

/** Proxies of the operator's network: their addresses, and the servers that are reached without one. */

export interface HttpProxy {
  /** `http://proxy.example:3128`, without credentials. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Whether the connection to the proxy itself is TLS. */
  readonly isSecure: boolean;
  /** Value of Proxy-Authorization, a secret; null where the proxy wants none. */
  readonly authorization: string | null;
}

export interface Proxies {
  /** For http URLs. */
  readonly http: HttpProxy | null;
  /** For https URLs. */
  readonly https: HttpProxy | null;
  readonly direct: readonly HostRule[];
  /** Whether the proxy resolves names that the worker cannot. */
  readonly resolve: boolean;
}

export const noProxies: Proxies = { http: null, https: null, direct: [], resolve: false };

/** Servers: all; a name, with or without its subdomains; or addresses. */
export interface HostRule {
  /** Null: any port. */
  readonly port: number | null;
  readonly isOf: (host: string) => boolean;
}

/**
 * Reads the URL of a proxy; without a scheme it is http, as for curl and Go. `credentials` (`user:password`) are those of
 * a URL without any. A string is the fault, which quotes nothing of the text.
 */
export function parseProxy(text: string, credentials: string | null): HttpProxy | string {
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (url === null || url.hostname === '') return 'must be a URL such as http://proxy.example:3128';
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `must be an http or https proxy, not ${url.protocol.slice(0, -1)}; \`none\` takes no proxy`;
  }
  if (trimEndOf(url.pathname, '/') !== '' || url.search !== '' || url.hash !== '') {
    return 'must end with the port: a proxy has no path';
  }
  let own: string | null = null;
  try {
    if (url.username !== '') own = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  } catch {
    return 'has credentials with a % that begins no escape; write %25';
  }
  const used = own ?? credentials;
  const isSecure = url.protocol === 'https:';
  return {
    url: `${url.protocol}//${url.host}`,
    host: plainHost(url.hostname),
    port: portOf(url),
    isSecure,
    authorization: used === null ? null : `Basic ${Buffer.from(used).toString('base64')}`,
  };
}

/** The proxy for a URL; null where it is reached without one. */
export function proxyFor(url: URL, proxies: Proxies): HttpProxy | null {
  const proxy = url.protocol === 'https:' ? proxies.https : proxies.http;
  return proxy === null || matchesHost(url, proxies.direct) ? null : proxy;
}

/** Whether one of the rules is about the server of the URL. */
export function matchesHost(url: URL, rules: readonly HostRule[]): boolean {
  const host = plainHost(url.hostname);
  return rules.some(({ port, isOf }) => (port === null || port === portOf(url)) && isOf(host));
}

/**
 * Reads a list as no_proxy has it, by the rules that curl and Go share, and those of one of them that the other lacks:
 * `*`; `example.org` and `.example.org` with all subdomains, `*.example.org` for the subdomains alone; addresses, and
 * ranges such as `10.0.0.0/8`, which match literal addresses; each with a port where it has one. A string is the fault.
 */
export function parseHostRules(words: readonly string[]): readonly HostRule[] | string {
  const rules: HostRule[] = [];
  for (const word of words) {
    const rule = parseHostRule(word.toLowerCase());
    if (rule === null) return `has ${word}, which is no name, address or range`;
    rules.push(rule);
  }
  return rules;
}

function parseHostRule(word: string): HostRule | null {
  if (word === '*') return { port: null, isOf: () => true };
  const range = parseRange(word);
  if (range !== null) return { port: null, isOf: range };
  const colon = word.lastIndexOf(':');
  const portText = colon < 0 || word.endsWith(']') ? '' : word.slice(colon + 1);
  const port = portText === '' ? null : Number(portText);
  if (port !== null && !(Number.isInteger(port) && port >= 1 && port <= 65_535)) return null;
  const host = port === null ? word : word.slice(0, colon);
  const address = parseRange(host);
  if (address !== null) return { port, isOf: address };
  const subdomainsOnly = host.startsWith('*.');
  const name = trimEndOf(subdomainsOnly ? host.slice(2) : host.startsWith('.') ? host.slice(1) : host, '.');
  if (name === '' || /[\s/:*@[\]]/.test(name)) return null;
  return { port, isOf: (tested) => (!subdomainsOnly && tested === name) || tested.endsWith(`.${name}`) };
}

/** A test for an address or range, in brackets or not; null for text that is neither. */
function parseRange(text: string): HostRule['isOf'] | null {
  const [bare = '', prefix, ...rest] = text.split('/');
  const address = bare.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) === 0 || address.includes('%') || rest.length > 0) return null;
  const bits = isIPv4(address) ? 32 : 128;
  if (prefix !== undefined && !(/^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= bits)) return null;
  const list = new BlockList();
  list.addSubnet(address, prefix === undefined ? bits : Number(prefix), familyOf(address));
  return (tested) => isIP(tested) !== 0 && list.check(tested, familyOf(tested));
}

const familyOf = (address: string) => (isIPv4(address) ? 'ipv4' : 'ipv6');

/** A host of a URL in small letters, without brackets and the root's dot. */
const plainHost = (hostname: string) => trimEndOf(hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1'), '.');

/** The port of a URL, that of its scheme where it names none. */
export function portOf(url: URL): number {
  return url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
}
