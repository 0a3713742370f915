/**
 * A cloud as clouds.yaml and the OS_* variables describe it, with one name for each value: the older names and places that
 * openstacksdk knows are replaced (`OpenStackConfig.magic_fixes` in its config/loader.py).
 */

export type Cloud = Readonly<Record<string, unknown>>;

/** The values that say who asks Keystone for a token. */
export const authKeys = [
  'auth_url',
  'username',
  'user_id',
  'password',
  'token',
  'user_domain_name',
  'user_domain_id',
  'project_name',
  'project_id',
  'project_domain_name',
  'project_domain_id',
  'default_domain_name',
  'default_domain_id',
  'domain_name',
  'domain_id',
  'system_scope',
  'trust_id',
  'application_credential_id',
  'application_credential_name',
  'application_credential_secret',
] as const;
export type AuthKey = (typeof authKeys)[number];

/** Older names, each with today's. A value of today's name wins. */
const renamed: Readonly<Record<string, string>> = {
  tenant_id: 'project_id',
  tenant_name: 'project_name',
  auth_token: 'token',
  user_name: 'username',
  default_domain: 'default_domain_id',
  auth_plugin: 'auth_type',
  endpoint_type: 'interface',
  image_endpoint_type: 'image_interface',
  object_store_endpoint_type: 'object_store_interface',
  image_endpoint: 'image_endpoint_override',
  object_store_endpoint: 'object_store_endpoint_override',
};

/** Values of which one takes the place of the other. */
const alternatives: readonly (readonly AuthKey[])[] = [
  ['project_id', 'project_name'],
  ['user_id', 'username'],
  ['user_domain_id', 'user_domain_name'],
  ['project_domain_id', 'project_domain_name'],
  ['application_credential_id', 'application_credential_name'],
];

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The cloud with today's names, at all depths, in small letters with underscores; those of `auth` that stand beside it inside. */
export function keysInOrder(cloud: Cloud): Cloud {
  const { auth, ...rest } = withNames(cloud);
  const isAuth = (name: string) => authKeys.some((key) => key === name);
  const beside = Object.fromEntries(Object.entries(rest).filter(([name]) => isAuth(name)));
  const others = Object.fromEntries(Object.entries(rest).filter(([name]) => !isAuth(name)));
  const regions = Array.isArray(rest.regions)
    ? { regions: rest.regions.map((region: unknown) => inOrder(region)) }
    : {};
  return { ...others, ...regions, auth: { ...beside, ...withNames(asRecord(auth)) } };
}

function inOrder(region: unknown): unknown {
  if (typeof region !== 'object' || region === null) return region;
  const { values, ...rest } = region as Record<string, unknown>;
  return values === undefined ? rest : { ...rest, values: keysInOrder(asRecord(values)) };
}

function withNames(record: Cloud): Cloud {
  const plain = Object.entries(record)
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) => [name.replaceAll('-', '_'), value] as const);
  const older = plain.flatMap(([name, value]) => {
    const today = renamed[name];
    return today === undefined ? [] : [[today, value] as const];
  });
  return Object.fromEntries([...older, ...plain.filter(([name]) => renamed[name] === undefined)]);
}

/** `over` put over `cloud`, nested values too. */
export function merged(cloud: Cloud, over: Cloud): Cloud {
  return {
    ...cloud,
    ...Object.fromEntries(
      Object.entries(over).map(([name, value]) => {
        const isNested = typeof value === 'object' && value !== null && !Array.isArray(value);
        return [name, isNested ? merged(asRecord(cloud[name]), value as Cloud) : value];
      }),
    ),
  };
}

/**
 * Puts the OS_* variables over a cloud. A variable displaces the other way to say the same: OS_PROJECT_NAME a project_id
 * of the file.
 */
export function withVariables(cloud: Cloud, environment: Readonly<Record<string, string | undefined>>): Cloud {
  const over = cloudOfVariables(environment);
  const given = asRecord(over.auth);
  const displaced = alternatives.filter((names) => names.some((name) => given[name] !== undefined)).flat();
  const auth = Object.entries(asRecord(cloud.auth)).filter(([name]) => !displaced.some((each) => each === name));
  return merged({ ...cloud, auth: Object.fromEntries(auth) }, over);
}

/** The cloud that the OS_* variables describe. */
function cloudOfVariables(environment: Readonly<Record<string, string | undefined>>): Cloud {
  const selectors = ['OS_CLOUD', 'OS_CLIENT_CONFIG_FILE', 'OS_CLIENT_SECURE_FILE'];
  const variables = Object.entries(environment).filter(
    ([name, value]) => name.startsWith('OS_') && !selectors.includes(name) && value !== undefined,
  );
  return keysInOrder(Object.fromEntries(variables.map(([name, value]) => [name.slice(3).toLowerCase(), value])));
}

/** The variable that a value came from, by any of its names; null where none did. */
export function variableOf(key: string, environment: Readonly<Record<string, string | undefined>>): string | null {
  const names = [key, ...Object.keys(renamed).filter((older) => renamed[older] === key)];
  return names.map((name) => `OS_${name.toUpperCase()}`).find((name) => environment[name] !== undefined) ?? null;
}
