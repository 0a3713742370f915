import { trimEndOf } from '../../text.ts';
import { storeError } from './error.ts';
import type { Catalog } from './identity.ts';
import { type ServiceChoice, type ServiceType, serviceNames } from './services.ts';

/** Finds the address of a service in the catalogue that comes with a token. */

export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  readonly region: string;
}

export interface Wanted extends ServiceChoice {
  readonly type: ServiceType;
}

/** Finds the endpoint. Throws `store.refused` with the wanted service and the content of the catalogue. */
export function findEndpoint(catalog: Catalog, wanted: Wanted): Endpoint {
  const { catalogueType, catalogueName } = wanted;
  const ofType = catalog
    .filter(({ type, name }) => type === catalogueType && (catalogueName === null || name === catalogueName))
    .flatMap(({ endpoints }) => endpoints);
  const endpoints = ofType.map((endpoint) => ({ ...endpoint, region: endpoint.region_id ?? endpoint.region ?? '' }));
  const fitting = endpoints.filter(
    (endpoint) =>
      endpoint.interface === wanted.interface && (wanted.region === null || endpoint.region === wanted.region),
  );
  const [first, ...others] = fitting;
  const named = catalogueName === null ? '' : ` with the name ${catalogueName}`;
  const service = `${catalogueType} (${serviceNames[wanted.type]})${named}`;
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
