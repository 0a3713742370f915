import { trimEndOf } from '../../text.ts';

/** How a cloud's settings choose the endpoints of Glance and Swift. */

export const serviceNames = { image: 'Glance', 'object-store': 'Swift' } as const;
export type ServiceType = keyof typeof serviceNames;

const endpointInterfaces = ['public', 'internal', 'admin'] as const;
type EndpointInterface = (typeof endpointInterfaces)[number];

export interface ServiceChoice {
  /** Type and name in the catalogue. A null name: any. */
  readonly catalogueType: string;
  readonly catalogueName: string | null;
  /** Null where no region is named; then the catalogue must hold only one. */
  readonly region: string | null;
  readonly interface: EndpointInterface;
  /** URL to use in place of the catalogue's, without a slash at its end; `%(project_id)s` stands for the project's id. */
  readonly endpoint: string | null;
}

export type Services = Readonly<Record<ServiceType, ServiceChoice>>;

/** Settings of a service, by their names behind `image_` and `object_store_`. */
const read = ['api_version', 'endpoint_override', 'interface', 'region_name', 'service_type', 'service_name'];
/** Settings for features of openstacksdk that have no counterpart here. */
const without = [
  ...['format', 'status_code_retries', 'status_code_retry_delay', 'connect_retries', 'connect_retry_delay'],
  ...['default_microversion', 'api_timeout', 'timeout', 'concurrency', 'rate_limit', 'min_version', 'max_version'],
];
/** The version of each service's API that Image Builder speaks. */
const versions: Readonly<Record<ServiceType, string>> = { image: '2', 'object-store': '1' };

type Values = Readonly<Record<string, unknown>>;
type AddFault = (path: readonly string[], message: string) => void;

/** Reads the choices. `written`: names in a file, of which unknown ones are faults. */
export function readServices(cloud: Values, written: readonly string[], fault: AddFault): Services {
  const choose = (type: ServiceType): ServiceChoice => {
    const prefix = `${type.replace('-', '_')}_`;
    const text = (name: string): string | null => {
      const value = cloud[name];
      if (value === undefined || typeof value === 'string' || typeof value === 'number')
        return value?.toString() ?? null;
      fault([name], 'must be text');
      return null;
    };
    const own = (name: string) => text(`${prefix}${name}`);
    const version = own('api_version');
    if (version !== null && version.replace(/^v/, '').split('.')[0] !== versions[type]) {
      fault(
        [`${prefix}api_version`],
        `must be ${versions[type]}, the version that ${serviceNames[type]} is spoken to in`,
      );
    }
    if (
      cloud[`${prefix}api_use_tasks`] !== undefined &&
      String(cloud[`${prefix}api_use_tasks`]).toLowerCase() !== 'false'
    ) {
      fault([`${prefix}api_use_tasks`], 'must be false: images are uploaded, not imported by tasks');
    }
    for (const name of written.filter((each) => each.startsWith(prefix))) {
      const rest = name.slice(prefix.length);
      if (![...read, ...without, 'api_use_tasks'].includes(rest)) fault([name], 'is not supported');
    }
    const endpoint = own('endpoint_override');
    if (endpoint !== null && !/^https?:\/\/[^/]/.test(endpoint)) {
      fault([`${prefix}endpoint_override`], 'must be an http or https URL');
    }
    const interfaceKey = cloud[`${prefix}interface`] === undefined ? 'interface' : `${prefix}interface`;
    return {
      catalogueType: own('service_type') ?? type,
      catalogueName: own('service_name'),
      region: own('region_name') ?? text('region_name'),
      interface: readInterface(interfaceKey, text(interfaceKey), fault),
      endpoint: endpoint === null ? null : trimEndOf(endpoint, '/'),
    };
  };
  return { image: choose('image'), 'object-store': choose('object-store') };
}

function readInterface(key: string, value: string | null, fault: AddFault): EndpointInterface {
  // An older form is `publicURL`.
  const wanted = (value ?? 'public').replace(/URL$/, '');
  const found = endpointInterfaces.find((name) => name === wanted);
  if (found === undefined) fault([key], `must be one of ${endpointInterfaces.join(', ')}`);
  return found ?? 'public';
}
