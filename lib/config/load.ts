import type { BrokerCertificates } from '../broker-address.ts';
import { passwordsOf } from '../broker-address.ts';
import { digestToken, type TokenHolder } from '../callers.ts';
import { ImageBuilderError, type RequestFault } from '../errors.ts';
import { type ApiSettings, apiSettings } from './api.ts';
import { type BrokerSettings, brokerSettings } from './broker.ts';
import { brokerCertificates } from './broker-certificates.ts';
import { certificateSettings, readTrust } from './certificates.ts';
import { type EgressSettings, egressSettings } from './egress.ts';
import { type FolderSettings, folderSettings } from './folders.ts';
import { type GuestSettings, guestSettings } from './guest.ts';
import { type HttpSettings, httpSettings } from './http.ts';
import { type ImageSettings, imageSettings } from './image.ts';
import { type LimitSettings, limitSettings } from './limits.ts';
import { type LogSettings, logSettings } from './log.ts';
import { type PackageSettings, packageSettings } from './packages.ts';
import { type ProvenanceSettings, readProvenance } from './provenance.ts';
import { proxySettings, readProxies, secretsOfProxies } from './proxy.ts';
import { type FunctionName, findSecrets, hiddenIn, readSecrets, type Secrets, secretFiles } from './secrets.ts';
import type { Declarations, Setting, SettingsOf } from './setting.ts';
import { type StoreSettings, storeSettings } from './store.ts';
import { readTokensFile } from './tokens-file.ts';
import { type ToolSettings, toolSettings } from './tools.ts';
import { readTracing, secretsOfTracing, type TracingSettings, tracingSettings } from './tracing.ts';
import { unknownSecrets, unknownVariables } from './unknown.ts';
import { type VerificationSettings, verificationSettings } from './verification.ts';
import { type WakeSettings, wakeSettings } from './wake.ts';
import { type WorkerSettings, workerSettings } from './worker.ts';

/** The configuration in groups. A composition hands each part the groups that the part needs, and no others. */
export interface Config {
  readonly broker: BrokerSettings & { readonly certificates: BrokerCertificates };
  readonly wake: WakeSettings;
  readonly api: ApiSettings;
  readonly callers: CallerSettings;
  readonly folders: FolderSettings;
  readonly store: StoreSettings;
  readonly openStack: OpenStackSecrets;
  readonly guest: GuestSettings;
  readonly tools: ToolSettings;
  readonly verification: VerificationSettings;
  readonly image: ImageSettings;
  readonly packages: PackageSettings;
  readonly provenance: ProvenanceSettings;
  readonly worker: WorkerSettings;
  readonly limits: LimitSettings;
  readonly http: HttpSettings;
  readonly egress: EgressSettings;
  readonly tracing: TracingSettings;
  /** With every secret value, for redaction. */
  readonly log: LogSettings & { readonly secrets: readonly string[] };
}

interface CallerSettings {
  /** The one token of the secret `imagebuilder-token`. */
  readonly token: string | null;
  /** The callers of the secret `imagebuilder-tokens`. */
  readonly tokenHolders: readonly TokenHolder[];
}

interface OpenStackSecrets {
  /** Text of a clouds.yaml. */
  readonly clouds: string | null;
  readonly password: string | null;
  readonly applicationCredentialSecret: string | null;
}

const groups = {
  broker: brokerSettings,
  wake: wakeSettings,
  api: apiSettings,
  folders: folderSettings,
  store: storeSettings,
  guest: guestSettings,
  tools: toolSettings,
  verification: verificationSettings,
  image: imageSettings,
  packages: packageSettings,
  worker: workerSettings,
  limits: limitSettings,
  http: httpSettings,
  proxy: proxySettings,
  certificates: certificateSettings,
  egress: egressSettings,
  log: logSettings,
  tracing: tracingSettings,
} as const satisfies Partial<Record<keyof Config | 'proxy' | 'certificates', Declarations>>;

/** Every setting, in the order of the table in README.md. */
export const allSettings: readonly Setting[] = Object.values(groups).flatMap((group) => Object.values<Setting>(group));

const variables = allSettings.map(({ variable }) => variable);
const secretNames = Object.values(secretFiles).map(({ file }) => file);

/** Throws `config.invalid` for variables that look like a setting and are none. */
export function requireKnownVariables(environment: Environment): void {
  refuse(unknownVariables(environment, variables));
}

type Environment = Readonly<Record<string, string | undefined>>;
type Groups = { readonly [Name in keyof typeof groups]: SettingsOf<(typeof groups)[Name]> };

/**
 * Reads the configuration, with the secrets of the function `reader`; without a reader, with all secrets. Throws
 * `config.invalid` with every fault at once.
 */
export function loadConfig(environment: Environment = process.env, reader: FunctionName | null = null): Config {
  const faults: RequestFault[] = [];
  const settings = readGroups(environment, faults);
  faults.push(...unknownVariables(environment, variables));
  const { directory, faults: folderFaults } = findSecrets(environment.IMAGEBUILDER_SECRETS_DIRECTORY);
  faults.push(...folderFaults);
  const secrets = readSecrets(directory, reader);
  faults.push(...unknownSecrets(directory, secretNames, environment));
  const callers = callersOf(secrets, faults);
  const { proxy, certificates, tracing, ...rest } = settings;
  const proxies = readProxies(proxy, environment, secrets.proxyCredentials || null, faults);
  const trust = readTrust(certificates, faults);
  const broker = {
    ...{ ...settings.broker, amqpUrl: amqpUrlOf(secrets, faults) ?? settings.broker.amqpUrl },
    certificates: brokerCertificates(secrets, trust.authorities, faults),
  };
  const provenance = readProvenance(secrets, settings.api.publicUrl, faults);
  const { leaseMs } = settings.broker;
  const { heartbeatMs, buildTimeoutMs, execTimeoutMs } = settings.worker;
  if (leaseMs < 2 * heartbeatMs) {
    const message = `must be at least twice ${workerSettings.heartbeatMs.variable}`;
    faults.push({ path: brokerSettings.leaseMs.variable, message });
  }
  if (execTimeoutMs < buildTimeoutMs) {
    const message = `must not be less than ${workerSettings.buildTimeoutMs.variable}: no build would ever be taken`;
    faults.push({ path: workerSettings.execTimeoutMs.variable, message });
  }
  refuse(faults);
  return {
    ...rest,
    broker,
    http: { ...settings.http, proxies, trust },
    callers,
    store: { ...settings.store, swiftTemporaryUrlKey: secrets.swiftTemporaryUrlKey || null },
    openStack: {
      clouds: secrets.openstackClouds || null,
      password: secrets.openstackPassword || null,
      applicationCredentialSecret: secrets.openstackApplicationCredentialSecret || null,
    },
    provenance,
    tracing: readTracing(tracing),
    worker: { ...settings.worker, callbackSigningKey: secrets.callbackSigningKey || null },
    log: {
      ...settings.log,
      secrets: [
        ...passwordsOf(broker.amqpUrl),
        ...secretsOfProxies(proxies),
        ...secretsOfTracing(environment),
        ...hiddenIn(secrets),
      ],
    },
  };
}

/** Throws `config.invalid` where there are faults. */
function refuse(faults: readonly RequestFault[]): void {
  if (faults.length === 0) return;
  const detail = faults.map((fault) => `${fault.path} ${fault.message}`).join('; ');
  throw new ImageBuilderError('config.invalid', `the configuration has faults: ${detail}`, { faults });
}

/** The values of all groups. A value that has a fault is missing, and compares with none. */
function readGroups(environment: Environment, faults: RequestFault[]): Groups {
  const read = (group: Declarations) =>
    Object.entries(group).flatMap(([name, { variable, schema, fallback }]) => {
      const result = schema.safeParse(environment[variable] || fallback);
      if (result.success) return [[name, result.data]];
      faults.push({ path: variable, message: result.error.issues.map((issue) => issue.message).join(', ') });
      return [];
    });
  const values = Object.entries(groups).map(([name, group]) => [name, Object.fromEntries(read(group)) as unknown]);
  return Object.fromEntries(values) as Groups;
}

function amqpUrlOf({ amqpUrl }: Secrets, faults: RequestFault[]): string | null {
  if (!amqpUrl) return null;
  const { error } = brokerSettings.amqpUrl.schema.safeParse(amqpUrl);
  if (error === undefined) return amqpUrl;
  const message = error.issues.map((issue) => issue.message).join(', ');
  faults.push({ path: `secret ${secretFiles.amqpUrl.file}`, message });
  return null;
}

/**
 * The callers of the secrets with tokens. A file of callers that is there but empty is a fault: it must not open the API
 * to everybody.
 */
function callersOf(secrets: Secrets, faults: RequestFault[]): CallerSettings {
  const token = secrets.token || null;
  if (secrets.tokens === null) return { token, tokenHolders: [] };
  const { file } = secretFiles.tokens;
  const { tokenHolders, faults: found } = readTokensFile(secrets.tokens);
  faults.push(...found.map(({ path, message }) => ({ path: `secret ${file} ${path}`.trimEnd(), message })));
  if (token !== null && tokenHolders.some(({ tokenDigests }) => tokenDigests.includes(digestToken(token)))) {
    faults.push({ path: `secret ${file}`, message: `must not hold the token of ${secretFiles.token.file}` });
  }
  return { token, tokenHolders };
}
