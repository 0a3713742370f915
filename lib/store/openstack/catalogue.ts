import { trimEndOf } from '../../text.ts';
import type { EndpointInterface } from './configuration.ts';
import { storeError } from './error.ts';
import type { Catalog } from './identity.ts';

/** Finds the address of a service in the catalogue that comes with a token. */

export const serviceNames = { image: 'Glance', 'object-store': 'Swift' } as const;
export type ServiceType = keyof typeof serviceNames;

export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  readonly region: string;
}

export interface Wanted {
  readonly type: ServiceType;
  /** Null: the only region there is. */
  readonly region: string | null;
  readonly interface: EndpointInterface;
}

/** Finds the endpoint. Throws `store.refused` with the wanted service and the content of the catalogue. */
export function findEndpoint(catalog: Catalog, wanted: Wanted): Endpoint {
  const ofType = catalog.filter(({ type }) => type === wanted.type).flatMap(({ endpoints }) => endpoints);
  const endpoints = ofType.map((endpoint) => ({ ...endpoint, region: endpoint.region_id ?? endpoint.region ?? '' }));
  const fitting = endpoints.filter(
    (endpoint) =>
      endpoint.interface === wanted.interface && (wanted.region === null || endpoint.region === wanted.region),
  );
  const [first, ...others] = fitting;
  const service = `${wanted.type} (${serviceNames[wanted.type]})`;
  if (first === undefined) {
    const where = wanted.region === null ? '' : ` in the region ${wanted.region}`;
    const has =
      endpoints.length === 0
        ? `it has the services ${unique(catalog.map(({ type }) => type)) || 'of none'}`
        : `of that service it has ${unique(endpoints.map((found) => `${found.interface} in ${found.region}`))}`;
    throw refused(`the catalogue has no ${wanted.interface} endpoint of ${service}${where}; ${has}`);
  }
  if (others.some((other) => other.region !== first.region)) {
    const regions = unique(fitting.map(({ region }) => region));
    throw refused(`the catalogue has ${service} in several regions (${regions}); choose one with OS_REGION_NAME`);
  }
  if (!/^https?:\/\//.test(first.url)) throw refused(`the catalogue's URL of ${service} is neither http nor https`);
  return { url: trimEndOf(first.url, '/'), region: first.region };
}

const unique = (words: readonly string[]) => [...new Set(words)].sort().join(', ');

const refused = (message: string) => storeError(message, { transient: false });
