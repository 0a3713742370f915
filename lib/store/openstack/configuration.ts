import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { ImageBuilderError, isNodeError, type RequestFault } from '../../errors.ts';
import { trimEndOf } from '../../text.ts';
import { type ClientCertificate, certificatesFault, clientFault } from '../../trust.ts';
import { type AuthKey, asRecord, authKeys, type Cloud, variableOf, withVariables } from './cloud.ts';
import { type Environment, readCloudFile } from './cloud-file.ts';
import { type Identity, readIdentity } from './credentials.ts';
import { readServices, type Services } from './services.ts';

/** Reads how to reach OpenStack, from the OS_* variables or a clouds.yaml, with secrets from files. */

export interface OpenStackConfiguration {
  /** Where it was read, in words: `the OS_* variables`, `the cloud lab of /etc/openstack/clouds.yaml`. */
  readonly source: string;
  /** Ends with `/v3`. */
  readonly authUrl: string;
  readonly identity: Identity;
  readonly services: Services;
  /** The certificates that the cloud names; null: none. */
  readonly trust: CloudTrust | null;
  /** Secret values, for redaction. */
  readonly secrets: readonly string[];
}

export interface CloudTrust {
  /** CAs in PEM that are trusted in place of the usual ones; null: none. */
  readonly only: string | null;
  /** The certificate that the worker shows; null: none. */
  readonly client: Omit<ClientCertificate, 'hosts'> | null;
}

export interface ConfigurationInputs {
  readonly environment: Environment;
  /** Text of a clouds.yaml, from a secret. */
  readonly clouds: string | null;
  readonly password: string | null;
  readonly applicationCredentialSecret: string | null;
}

/** Numbers too: YAML turns an id or a password of digits into one. */
const word = z.union([z.string().min(1), z.number().transform(String)], { error: 'must be text' }).optional();
const noCheck = /^(false|no|0)$/i;
const yes = /^(1|true|yes)$/i;

/** The fields of a cloud that are read here; `services.ts` reads the others. */
const Fields = z.object({
  auth_type: word,
  auth: z.object(Object.fromEntries(authKeys.map((key) => [key, word])) as Record<AuthKey, typeof word>),
  identity_api_version: word,
  cacert: word,
  cert: word,
  key: word,
  verify: z.union([z.boolean(), z.string().transform((value) => !noCheck.test(value))]).default(true),
  insecure: z.union([z.boolean(), z.string().transform((value) => yes.test(value))]).default(false),
});
type Fields = z.infer<typeof Fields>;

interface Source {
  /** Where it was read, in words. */
  readonly name: string;
  readonly cloud: Cloud;
  /** Names in the file; empty for the variables, of which some may be meant for others. */
  readonly written: readonly string[];
  /** The name by which the author of the source knows the value at `path`. */
  nameOf(path: readonly string[]): string;
}

/**
 * Reads the configuration; null where no OpenStack is configured (neither OS_CLOUD nor OS_AUTH_URL nor the secret).
 * Throws `config.invalid` with every fault at once.
 */
export async function readOpenStackConfiguration(inputs: ConfigurationInputs): Promise<OpenStackConfiguration | null> {
  const environment = Object.fromEntries(Object.entries(inputs.environment).filter(([, value]) => value !== ''));
  const source = await readSource(environment, inputs.clouds);
  if (source === null) return null;
  const faults: RequestFault[] = [];
  const fault = (path: readonly string[], message: string) => {
    const found = { path: source.nameOf(path), message };
    // Settings that both services share are read for each of them.
    if (!faults.some((other) => other.path === found.path && other.message === message)) faults.push(found);
  };
  const parsed = Fields.safeParse(source.cloud);
  if (!parsed.success) {
    for (const { path } of parsed.error.issues) fault(path.map(String), 'must be text');
    throw invalid(source, faults);
  }
  const fields = parsed.data;
  // A secret in a file of its own wins over one in the environment, which everybody can read.
  const { password, application_credential_secret: secret, ...rest } = fields.auth;
  const passwords = {
    password: inputs.password ?? password,
    application_credential_secret: inputs.applicationCredentialSecret ?? secret,
  };
  const auth = withoutUndefined({ ...rest, ...passwords });
  const authUrl = readAuthUrl(source.cloud, fields, fault);
  const identity = readIdentity(auth, fields.auth_type, fault);
  // A name that we do not know could change who the worker is.
  const unknown = Object.keys(asRecord(source.cloud.auth)).filter((name) => !authKeys.some((key) => key === name));
  if (identity !== null) for (const name of unknown) fault(['auth', name], 'is not supported');
  const services = readServices(source.cloud, source.written, fault);
  const unchecked = fields.insecure ? 'insecure' : 'verify';
  if (fields.insecure || !fields.verify) {
    fault([unchecked], 'must not turn certificate checks off; name the CA with cacert instead');
  }
  const trust = await readTrust(fields, environment, fault);
  if (faults.length > 0 || identity === null) throw invalid(source, faults);
  const secrets = [auth.password, auth.application_credential_secret, auth.token];
  return {
    ...{ source: source.name, authUrl, identity, services, trust },
    secrets: secrets.filter((each) => each !== undefined),
  };
}

type AddFault = (path: readonly string[], message: string) => void;

async function readSource(environment: Environment, clouds: string | null): Promise<Source | null> {
  // openstacksdk calls the cloud of the variables so.
  const { OS_CLOUD: named, OS_AUTH_URL: authUrl } = environment;
  const wanted = named === 'envvars' ? undefined : named;
  if (wanted !== undefined || (clouds !== null && authUrl === undefined)) {
    const { name, cloud } = await readCloudFile(environment, clouds);
    const nameOf: Source['nameOf'] = (path) => variableOf(path.at(-1) ?? '', environment) ?? path.join('.');
    return { name, written: Object.keys(cloud), cloud: withVariables(cloud, environment), nameOf };
  }
  if (authUrl === undefined) return null;
  return {
    name: 'the OS_* variables',
    written: [],
    cloud: withVariables({ auth: {} }, environment),
    nameOf: (path) => variableOf(path.at(-1) ?? '', environment) ?? `OS_${(path.at(-1) ?? '').toUpperCase()}`,
  };
}

/** `{region_name}` and the like in a URL stand for values of the cloud. */
function readAuthUrl(cloud: Cloud, { auth, identity_api_version: version }: Fields, fault: AddFault): string {
  if (version !== undefined && !/^v?3(\.|$)/.test(version)) fault(['identity_api_version'], 'must be 3');
  const text = (auth.auth_url ?? '').replace(/\{([a-z_]+)\}/g, (whole, key: string) => {
    const value = cloud[key] ?? asRecord(cloud.auth)[key];
    return typeof value === 'string' && !key.includes('password') ? value : whole;
  });
  const url = text.includes('{') ? null : URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    fault(['auth', 'auth_url'], auth.auth_url === undefined ? 'is missing' : 'must be an http or https URL');
    return '';
  }
  const path = trimEndOf(url.pathname, '/');
  if (/\/v2\.0$/.test(path)) fault(['auth', 'auth_url'], 'leads to version 2 of Keystone; version 3 is needed');
  return `${url.origin}${path.endsWith('/v3') ? path : `${path}/v3`}`;
}

/** Reads the CA, which takes the place of all others, and the worker's own certificate. */
async function readTrust(
  { cacert, cert, key }: Fields,
  environment: Environment,
  fault: AddFault,
): Promise<CloudTrust | null> {
  const read = async (name: string, path: string): Promise<string | null> => {
    const file = path.startsWith('~/') ? join(environment.HOME ?? homedir(), path.slice(2)) : path;
    try {
      return await readFile(file, 'utf8');
    } catch (error) {
      fault([name], `${path} cannot be read${isNodeError(error) ? ` (${error.code})` : ''}`);
      return null;
    }
  };
  const only = cacert === undefined ? null : await read('cacert', cacert);
  const caFault = only === null ? null : certificatesFault(only);
  if (caFault !== null) fault(['cacert'], `${cacert} ${caFault}`);
  if (cert === undefined) {
    if (key !== undefined) fault(['key'], 'needs cert, the certificate of the key');
    return only === null ? null : { only, client: null };
  }
  const certificate = await read('cert', cert);
  const keyText = key === undefined ? certificate : await read('key', key);
  if (certificate === null || keyText === null) return null;
  const pairFault = clientFault({ certificate, key: keyText });
  if (pairFault !== null) fault(['cert'], `${cert} ${pairFault}`);
  return { only, client: { certificate, key: keyText } };
}

function withoutUndefined<Key extends string>(
  record: Partial<Record<Key, string | undefined>>,
): Partial<Record<Key, string>> {
  const entries = Object.entries<string | undefined>(record).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<Record<Key, string>>;
}

function invalid(source: Source, faults: readonly RequestFault[]): ImageBuilderError {
  const detail = faults.map((fault) => `${fault.path} ${fault.message}`).join('; ');
  return new ImageBuilderError('config.invalid', `the OpenStack configuration (${source.name}) has faults: ${detail}`, {
    faults,
  });
}
