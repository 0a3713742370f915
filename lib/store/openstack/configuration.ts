import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ImageBuilderError, isNodeError, type RequestFault } from '../../errors.ts';
import { trimEndOf } from '../../text.ts';
import { type CloudSource, readCloudFile } from './cloud-file.ts';

/** Reads how to reach OpenStack, from the OS_* variables or a clouds.yaml, with secrets from files. */

/**
 * The identity that asks Keystone for a token. Users, domains, scope and credential have the form of Keystone's own
 * API.
 */
export type Identity =
  | { readonly kind: 'password'; readonly user: UserReference; readonly password: string; readonly scope: Scope }
  /** An application credential includes its project: Keystone refuses a scope beside it. */
  | {
      readonly kind: 'application_credential';
      readonly credential: { readonly id: string } | { readonly name: string; readonly user: UserReference };
      readonly secret: string;
    };

type Domain = { readonly id: string } | { readonly name: string };
type UserReference = { readonly id: string } | { readonly name: string; readonly domain: Domain };
interface Scope {
  readonly project: { readonly id: string } | { readonly name: string; readonly domain: Domain };
}

const endpointInterfaces = ['public', 'internal', 'admin'] as const;
export type EndpointInterface = (typeof endpointInterfaces)[number];

export interface OpenStackConfiguration {
  /** Where it was read, in words: `the OS_* variables`, `the cloud lab of /etc/openstack/clouds.yaml`. */
  readonly source: string;
  /** Ends with `/v3`. */
  readonly authUrl: string;
  readonly identity: Identity;
  /** Null where no region is named; then the catalogue must hold only one. */
  readonly region: string | null;
  readonly interface: EndpointInterface;
  /** PEM of the CA that the servers' certificates are checked against, null for the system's. */
  readonly certificateAuthority: string | null;
  /** Secret values, for redaction. */
  readonly secrets: readonly string[];
}

export interface ConfigurationInputs {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Text of a clouds.yaml, from a secret. */
  readonly clouds: string | null;
  readonly password: string | null;
  readonly applicationCredentialSecret: string | null;
}

const text = z.string().min(1);
/** Numbers too: YAML turns an id or a password of digits into one. */
const word = z.union([text, z.number().transform(String)]).optional();

const authKeys = [
  'auth_url',
  'username',
  'user_id',
  'password',
  'user_domain_name',
  'user_domain_id',
  'project_name',
  'project_id',
  'project_domain_name',
  'project_domain_id',
  'default_domain_name',
  'default_domain_id',
  'application_credential_id',
  'application_credential_name',
  'application_credential_secret',
] as const;
type AuthKey = (typeof authKeys)[number];

/** The fields of a cloud in clouds.yaml that we use; the OS_* variables are brought into the same form. */
const Cloud = z.object({
  auth_type: word,
  auth: z.object(Object.fromEntries(authKeys.map((key) => [key, word])) as Record<AuthKey, typeof word>).prefault({}),
  region_name: word,
  interface: word,
  endpoint_type: word,
  identity_api_version: word,
  cacert: word,
  verify: z.union([z.boolean(), z.string().transform((value) => !/^(false|no|0)$/i.test(value))]).default(true),
});
type Cloud = z.infer<typeof Cloud>;

/**
 * Reads the configuration; null where no OpenStack is configured (neither OS_CLOUD nor OS_AUTH_URL nor the secret).
 * Throws `config.invalid` with every fault at once.
 */
export async function readOpenStackConfiguration(inputs: ConfigurationInputs): Promise<OpenStackConfiguration | null> {
  const environment = Object.fromEntries(Object.entries(inputs.environment).filter(([, value]) => value !== ''));
  const source = await readSource(environment, inputs.clouds);
  if (source === null) return null;
  const parsed = Cloud.safeParse(source.cloud);
  if (!parsed.success) {
    throw invalid(
      source,
      parsed.error.issues.map((issue) => ({ path: source.nameOf(issue.path.map(String)), message: 'must be text' })),
    );
  }
  const cloud = parsed.data;
  // A secret in a file of its own wins over one in the environment, which everybody can read.
  cloud.auth.password = inputs.password ?? cloud.auth.password;
  cloud.auth.application_credential_secret =
    inputs.applicationCredentialSecret ?? cloud.auth.application_credential_secret;
  const faults: RequestFault[] = [];
  const fault = (path: readonly string[], message: string) => {
    faults.push({ path: source.nameOf(path), message });
  };
  const authUrl = readAuthUrl(cloud, fault);
  const identity = readIdentity(cloud, fault);
  const chosen = readInterface(cloud, fault);
  if (!cloud.verify) fault(['verify'], 'must not turn certificate checks off; name the CA with cacert instead');
  const certificateAuthority = await readCertificateAuthority(cloud, fault);
  if (faults.length > 0 || identity === null) throw invalid(source, faults);
  return {
    source: source.name,
    authUrl,
    identity,
    region: cloud.region_name ?? null,
    interface: chosen,
    certificateAuthority,
    secrets: [cloud.auth.password, cloud.auth.application_credential_secret].filter((secret) => secret !== undefined),
  };
}

type AddFault = (path: readonly string[], message: string) => void;

async function readSource(
  environment: Readonly<Record<string, string | undefined>>,
  clouds: string | null,
): Promise<CloudSource | null> {
  if (environment.OS_CLOUD !== undefined || (clouds !== null && environment.OS_AUTH_URL === undefined)) {
    return readCloudFile(environment, clouds);
  }
  if (environment.OS_AUTH_URL === undefined) return null;
  const variable = (key: string) => environment[`OS_${key.toUpperCase()}`];
  const rest = ['auth_type', 'region_name', 'interface', 'endpoint_type', 'identity_api_version', 'cacert'];
  const pick = (keys: readonly string[]) => Object.fromEntries(keys.map((key) => [key, variable(key)]));
  return {
    name: 'the OS_* variables',
    cloud: { ...pick(rest), auth: pick(authKeys), verify: !/^(1|true|yes)$/i.test(environment.OS_INSECURE ?? '') },
    nameOf: (path) => (path[0] === 'verify' ? 'OS_INSECURE' : `OS_${(path.at(-1) ?? '').toUpperCase()}`),
  };
}

function readAuthUrl({ auth, identity_api_version: version }: Cloud, fault: AddFault): string {
  if (version !== undefined && !/^v?3(\.|$)/.test(version)) fault(['identity_api_version'], 'must be 3');
  const url = URL.parse(auth.auth_url ?? '');
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    fault(['auth', 'auth_url'], auth.auth_url === undefined ? 'is missing' : 'must be an http or https URL');
    return '';
  }
  const path = trimEndOf(url.pathname, '/');
  if (/\/v2\.0$/.test(path)) fault(['auth', 'auth_url'], 'leads to version 2 of Keystone; version 3 is needed');
  return `${url.origin}${path.endsWith('/v3') ? path : `${path}/v3`}`;
}

function readIdentity({ auth, auth_type: type }: Cloud, fault: AddFault): Identity | null {
  const isCredential =
    type === undefined
      ? auth.application_credential_id !== undefined || auth.application_credential_name !== undefined
      : type === 'v3applicationcredential';
  if (type !== undefined && !isCredential && !['password', 'v3password'].includes(type)) {
    fault(['auth_type'], `must be password or v3applicationcredential, not ${type}`);
    return null;
  }
  const required = (key: AuthKey) => {
    const value = auth[key];
    if (value === undefined) fault(['auth', key], 'is missing');
    return value ?? '';
  };
  const domain = (kind: 'user' | 'project'): Domain => {
    const id = auth[`${kind}_domain_id`] ?? auth.default_domain_id;
    if (id !== undefined) return { id };
    return { name: auth[`${kind}_domain_name`] ?? auth.default_domain_name ?? required(`${kind}_domain_name`) };
  };
  const user = (): UserReference =>
    auth.user_id === undefined ? { name: required('username'), domain: domain('user') } : { id: auth.user_id };

  if (isCredential) {
    const { application_credential_id: id, application_credential_name: name } = auth;
    const secret = required('application_credential_secret');
    if (id !== undefined) return { kind: 'application_credential', credential: { id }, secret };
    if (name !== undefined) return { kind: 'application_credential', credential: { name, user: user() }, secret };
    fault(['auth', 'application_credential_id'], 'is missing');
    return null;
  }
  const password = required('password');
  const project =
    auth.project_id === undefined
      ? { name: required('project_name'), domain: domain('project') }
      : { id: auth.project_id };
  return { kind: 'password', user: user(), password, scope: { project } };
}

function readInterface(cloud: Cloud, fault: AddFault): EndpointInterface {
  const key = cloud.interface === undefined && cloud.endpoint_type !== undefined ? 'endpoint_type' : 'interface';
  // An older form is `publicURL`.
  const wanted = (cloud[key] ?? 'public').replace(/URL$/, '');
  const found = endpointInterfaces.find((name) => name === wanted);
  if (found === undefined) fault([key], `must be one of ${endpointInterfaces.join(', ')}`);
  return found ?? 'public';
}

async function readCertificateAuthority({ cacert }: Cloud, fault: AddFault): Promise<string | null> {
  if (cacert === undefined) return null;
  try {
    const pem = await readFile(cacert, 'utf8');
    if (!pem.includes('-----BEGIN CERTIFICATE-----')) fault(['cacert'], `${cacert} holds no PEM certificate`);
    return pem;
  } catch (error) {
    fault(['cacert'], `${cacert} cannot be read${isNodeError(error) ? ` (${error.code})` : ''}`);
    return null;
  }
}

function invalid(source: CloudSource, faults: readonly RequestFault[]): ImageBuilderError {
  const detail = faults.map((fault) => `${fault.path} ${fault.message}`).join('; ');
  return new ImageBuilderError('config.invalid', `the OpenStack configuration (${source.name}) has faults: ${detail}`, {
    faults,
  });
}
