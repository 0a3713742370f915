import { blocked, type Hindrance, waiting } from '../hindrance.ts';
import type { Data } from '../hook-tools.ts';
import type { JujuState } from '../state.ts';
import { hostInUrl } from './url.ts';

/** The relation `identity-credentials` with keystone (interface `keystone-credentials`). */

export interface Cloud {
  /** Variables as OpenStack's own tools read them, without the password. */
  readonly variables: Data;
  readonly password: string;
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
  const data = relation.units.map((unit) => unit.data).find((one) => one.credentials_password && hostOf(one));
  if (data === undefined) return waiting('Waiting for keystone to make the user (relation identity-credentials)');
  if (/^v?2(?:\.0)?$/.test(data.api_version ?? '')) {
    return blocked('keystone has version 2 of its API: juju config keystone preferred-api-version=3');
  }
  return { variables: variablesOf(data), password: data.credentials_password ?? '' };
}

const hostOf = (data: Data): string => data.credentials_host || data.auth_host || '';

function variablesOf(data: Data): Data {
  const [protocol, port] = data.credentials_host
    ? [data.credentials_protocol || 'http', data.credentials_port || '5000']
    : [data.auth_protocol || 'http', data.auth_port || '5000'];
  // An id says more than a name, and only one of both may be given.
  const either = (variable: string, id: string | undefined, name: string | undefined): Data =>
    id ? { [`${variable}_ID`]: id } : name ? { [`${variable}_NAME`]: name } : {};
  return {
    OS_AUTH_URL: `${protocol}://${hostInUrl(hostOf(data))}:${port}/v3`,
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
