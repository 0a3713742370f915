import { promises as dns, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { ImageBuilderError, safeUrl } from '../errors.ts';
import { trimEndOf } from '../text.ts';
import { type AddressKind, addressFamily, addressKind, allAddresses, rangeList } from './addresses.ts';
import { ownAddresses } from './own-addresses.ts';

/**
 * The egress rules: which servers URLs of a request may lead to. `checkUrl` checks the text of the URL (scheme, host
 * name, literal address) and must be called for every hop of a redirect; `lookup` is given to the socket and checks the
 * answers of DNS. Since the socket connects to the very addresses that were checked, an answer that changes between
 * check and connect (DNS rebinding) changes nothing.
 */
export interface Egress {
  /** The parsed URL. Throws `egress.refused`, or `request.invalid` for text that is no URL. */
  checkUrl(url: string | URL): URL;
  /** The same for a tunnel to the server of a https URL. Its content cannot be checked, so its port counts, too. */
  checkTunnel(url: string | URL): URL;
  /** Throws `egress.refused` for a redirect from https to http: anybody on the way could change the answer. */
  checkRedirect(from: URL, to: URL): void;
  /** The `lookup` of sockets: resolves, and fails with `egress.refused` when any of the addresses is refused. */
  readonly lookup: LookupFunction;
}

export interface EgressOptions {
  /** Whether this machine may be reached: loopback addresses, and its own on any interface. */
  readonly allowLoopback: boolean;
  /** Private addresses and ranges that may be reached, such as `10.1.2.0/24`. Default: all. */
  readonly allowedPrivate?: readonly string[] | undefined;
  /**
   * When not empty, only these servers may be reached: host names, `*.example.org` (its subdomains), or literal
   * addresses.
   */
  readonly allowedHosts: readonly string[];
  /** Ports that tunnels may lead to. Default: that of https alone. */
  readonly tunnelPorts?: readonly number[];
  /** Whether redirects may lead from https to http. Default: no. */
  readonly allowDowngrade?: boolean;
  /** How names are resolved. Default: as the system does (getaddrinfo). */
  readonly resolve?: (hostname: string) => Promise<readonly LookupAddress[]>;
}

/** Names of metadata services; refused by name as well, since the network decides which addresses they have. */
const metadataNames: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'metadata.azure.internal',
  'metadata.tencentyun.com',
  'instance-data',
  'instance-data.ec2.internal',
]);

const httpsPort = 443;

const refusedKinds: ReadonlySet<AddressKind> = new Set([
  'cloud metadata',
  'link-local',
  'unspecified',
  'multicast',
  'broadcast',
  'reserved',
]);

/** Makes the egress rules of a process. */
export function createEgress(options: EgressOptions): Egress {
  const { allowLoopback, tunnelPorts = [httpsPort], allowDowngrade = false } = options;
  const allowedPrivate = options.allowedPrivate === undefined ? null : rangeList(options.allowedPrivate);
  const { resolve = (hostname) => dns.lookup(hostname, { all: true, order: 'verbatim' }) } = options;
  const allowedHosts = options.allowedHosts.map(normalHost);

  function checkHost(host: string): void {
    if (metadataNames.has(host)) throw refused(host, 'it is the name of a cloud-metadata service', null);
    if (allowedHosts.length > 0 && !allowedHosts.some((pattern) => matches(pattern, host))) {
      throw refused(host, 'it is not on the list of allowed hosts', 'IMAGEBUILDER_EGRESS_ALLOWED_HOSTS');
    }
    if (isIP(host) !== 0) checkAddress(host, host);
  }

  function checkAddress(address: string, host: string): void {
    const subject = address === host ? 'it' : `its address ${address}`;
    const own = allowLoopback ? null : ownAddresses();
    const addresses = allAddresses(address);
    if (addresses.length === 0) throw refused(host, `${subject} is no address`, null);
    for (const each of addresses) {
      const kind = addressKind(each);
      const family = addressFamily(each);
      if (refusedKinds.has(kind)) throw refused(host, `${subject} is a ${kind} address`, null);
      if (own !== null && (kind === 'loopback' || own.check(each, family))) {
        const what = kind === 'loopback' ? 'a loopback address' : 'an address of this machine';
        throw refused(host, `${subject} is ${what}`, 'IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK');
      }
      if (kind === 'private' && allowedPrivate?.check(each, family) === false) {
        throw refused(host, `${subject} is a private address`, 'IMAGEBUILDER_EGRESS_ALLOW_PRIVATE');
      }
    }
  }

  async function resolveChecked(hostname: string): Promise<readonly LookupAddress[]> {
    const host = normalHost(hostname);
    checkHost(host);
    const addresses = await resolve(hostname);
    for (const { address } of addresses) checkAddress(address, host);
    return addresses;
  }

  function checkUrl(url: string | URL): URL {
    const parsed = URL.parse(String(url));
    if (parsed === null) throw new ImageBuilderError('request.invalid', 'a URL is malformed');
    if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
      throw refused(parsed.protocol, 'only http and https URLs are fetched', null);
    }
    checkHost(normalHost(parsed.hostname));
    return parsed;
  }

  return {
    checkUrl,
    checkTunnel(url) {
      const parsed = checkUrl(url);
      const port = tunnelPort(parsed);
      if (tunnelPorts.includes(port)) return parsed;
      throw refused(
        `${parsed.hostname}:${port}`,
        'no tunnel may lead to this port',
        'IMAGEBUILDER_EGRESS_TUNNEL_PORTS',
      );
    },
    checkRedirect(from, to) {
      if (allowDowngrade || from.protocol !== 'https:' || to.protocol !== 'http:') return;
      throw new ImageBuilderError(
        'egress.refused',
        `${safeUrl(from)} redirects from https to ${safeUrl(to)}, where anybody on the way can change the answer; the operator can allow it with IMAGEBUILDER_EGRESS_ALLOW_DOWNGRADE`,
      );
    },
    lookup(hostname, lookupOptions, callback) {
      resolveChecked(hostname).then(
        (addresses) => {
          const wanted = addresses.filter(({ family }) => isFamily(lookupOptions.family, family));
          const [first] = wanted;
          if (first === undefined) {
            callback(Object.assign(new Error(`no address of ${hostname}`), { code: 'ENOTFOUND' }), '', 0);
          } else if (lookupOptions.all === true) {
            callback(null, [...wanted]);
          } else {
            callback(null, first.address, first.family);
          }
        },
        (error: NodeJS.ErrnoException) => callback(error, '', 0),
      );
    },
  };
}

/** The port of the server of a https URL. */
export function tunnelPort(url: URL): number {
  return url.port === '' ? httpsPort : Number(url.port);
}

function refused(host: string, rule: string, setting: string | null): ImageBuilderError {
  const remedy = setting === null ? 'no setting allows that' : `the operator can allow it with ${setting}`;
  return new ImageBuilderError('egress.refused', `${host} is refused by the egress rules: ${rule}; ${remedy}`);
}

/** A host name in the form for comparisons: lower case, without brackets and without the root's dots. */
function normalHost(host: string): string {
  return trimEndOf(host.toLowerCase().replace(/^\[(.*)\]$/, '$1'), '.');
}

function matches(pattern: string, host: string): boolean {
  return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) && host.length >= pattern.length : host === pattern;
}

function isFamily(wanted: number | string | undefined, family: number): boolean {
  return wanted === undefined || wanted === 0 || wanted === family || wanted === `IPv${family}`;
}
