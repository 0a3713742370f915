import { blocked, type Hindrance, waiting } from '../hindrance.ts';
import type { Data } from '../hook-tools.ts';
import type { JujuState } from '../state.ts';
import { certificatesOf, hostInUrl, isHost, portOf } from './address.ts';

/** The relation `identity-credentials` with keystone (interface `keystone-credentials`). */

export interface Cloud {
  /** Variables as OpenStack's own tools read them, without the password. */
  readonly variables: Data;
  readonly password: string;
  /** Certificates of the authorities of OpenStack's own certificates; null where these are the usual ones. */
  readonly authorities: string | null;
}

/**
 * The user that the relation asks for; null where the operator wants no roles. keystone gives a user without grants the role
 * of an administrator.
 */
export function cloudRequest({ options }: JujuState): Data | null {
  const text = (name: string) => String(options[name] ?? '').trim();
  const roles = rolesOf(options['openstack-roles']);
  if (roles === '') return null;
  return {
    username: 'imagebuilder',
    project: text('openstack-project'),
    domain: text('openstack-domain'),
    requested_roles: roles,
    requested_grants: roles,
  };
}

function rolesOf(option: unknown): string {
  return String(option ?? '')
    .split(',')
    .map((role) => role.trim())
    .filter((role) => role !== '')
    .join(',');
}

/** OpenStack by the relation; null without one. */
export function cloudOf(state: JujuState): Cloud | Hindrance | null {
  const [relation] = state.relations['identity-credentials'];
  if (relation === undefined) return null;
  if (rolesOf(state.options['openstack-roles']) === '') {
    return blocked(
      `Option openstack-roles is empty: juju config ${state.application} openstack-roles=member; without it keystone would make an administrator`,
    );
  }
  const found = relation.units.flatMap(({ data }) => readUnit(data) ?? []);
  return (
    found.find((one) => 'variables' in one) ??
    found[0] ??
    waiting('Waiting for keystone to make the user (relation identity-credentials)')
  );
}

/** Null for a unit of keystone that has not made the user yet. */
function readUnit(data: Data): Cloud | Hindrance | null {
  const { host, port, protocol } = addressOf(data);
  if (!data.credentials_password || host === '') return null;
  if (/^v?2(?:\.0)?$/.test(data.api_version ?? '')) {
    return blocked('keystone has version 2 of its API: juju config keystone preferred-api-version=3');
  }
  if (!isHost(host) || portOf(port) === null || !/^https?$/.test(protocol)) {
    return blocked('The address of keystone (relation identity-credentials) is none: see juju show-unit keystone/0');
  }
  const certificate = data.ca_cert === '__null__' ? '' : (data.ca_cert ?? '');
  const authorities = certificate === '' ? null : certificatesOf(certificate);
  if (certificate !== '' && authorities === null) {
    return blocked(
      'The ca_cert of keystone (relation identity-credentials) is no certificate in PEM: see its option ssl_ca',
    );
  }
  return { variables: variablesOf(data), password: data.credentials_password, authorities };
}

/** The public address of keystone, or the one for administrators where it names no other. */
function addressOf(data: Data): { readonly host: string; readonly port: string; readonly protocol: string } {
  return data.credentials_host
    ? {
        host: data.credentials_host,
        port: data.credentials_port || '5000',
        protocol: data.credentials_protocol || 'http',
      }
    : { host: data.auth_host || '', port: data.auth_port || '5000', protocol: data.auth_protocol || 'http' };
}

function variablesOf(data: Data): Data {
  const { host, port, protocol } = addressOf(data);
  // An id says more than a name, and only one of both may be given.
  const either = (variable: string, id: string | undefined, name: string | undefined): Data =>
    id ? { [`${variable}_ID`]: id } : name ? { [`${variable}_NAME`]: name } : {};
  return {
    OS_AUTH_URL: `${protocol}://${hostInUrl(host)}:${port}/v3`,
    OS_USERNAME: data.credentials_username || 'imagebuilder',
    ...either('OS_USER_DOMAIN', data.credentials_user_domain_id, data.credentials_user_domain_name || data.domain),
    ...either('OS_PROJECT', data.credentials_project_id, data.credentials_project),
    ...(data.credentials_project_id
      ? {}
      : either(
          'OS_PROJECT_DOMAIN',
          data.credentials_project_domain_id,
          data.credentials_project_domain_name || data.domain,
        )),
    ...(data.region ? { OS_REGION_NAME: data.region } : {}),
  };
}
