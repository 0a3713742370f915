import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { digestToken, type TokenHolder } from './callers.ts';
import { ImageBuilderError, isNodeError } from './errors.ts';
import { trimEndOf } from './text.ts';
import { readTokensFile } from './tokens-file.ts';

/**
 * Every setting, once: its environment variable, default, unit and meaning. The table in README.md is generated from
 * here (`npm run docs`). Secrets are files, never environment variables.
 */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

interface Setting<Schema extends z.ZodType = z.ZodType> {
  readonly variable: string;
  readonly schema: Schema;
  readonly fallback: string;
  readonly meaning: string;
}

const setting = <Schema extends z.ZodType>(
  variable: string,
  schema: Schema,
  fallback: string,
  meaning: string,
): Setting<Schema> => ({ variable, schema, fallback, meaning });

/** Timers of Node end at once when they are set to more than 2^31 - 1 milliseconds. */
const longestSeconds = 2_000_000;
const seconds = z
  .string()
  .regex(/^[0-9]+(\.[0-9]+)?$/, { error: 'must be a number of seconds' })
  .refine((text) => Number(text) > 0 && Number(text) <= longestSeconds, {
    error: `must be more than 0 and at most ${longestSeconds} seconds`,
  })
  .transform((text) => Math.max(1, Math.round(Number(text) * 1000)));
const wholeNumber = z
  .string()
  .regex(/^[0-9]+$/, { error: 'must be a whole number' })
  .transform(Number);
const bytes = z
  .string()
  .regex(/^[0-9]+(\.[0-9]+)?[KMGT]?$/, { error: 'must be a size such as 512M or 20G' })
  .transform((text) => {
    const units: Record<string, number> = { K: KiB, M: MiB, G: GiB, T: 1024 * GiB };
    return Math.round(Number.parseFloat(text) * (units[text.slice(-1)] ?? 1));
  });
const yesNo = z.enum(['true', 'false'], { error: 'must be true or false' }).transform((text) => text === 'true');
const folder = z.string().regex(/^\//, { error: 'must be an absolute path' });
const url = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .transform((text) => trimEndOf(text, '/'));
const properties = z
  .string()
  .transform((text) => text.split(/[\s,]+/).filter((part) => part !== ''))
  .pipe(
    z.array(
      z.string().regex(/^(?!os_glance_|imagebuilder_|ticket_id=)[a-z][a-z0-9_:]*=[^=]+$/, {
        error: 'must be pairs such as hw_disk_bus=virtio, with names that Glance and Image Builder leave free',
      }),
    ),
  )
  .transform((pairs) => Object.fromEntries(pairs.map((pair) => pair.split('=', 2) as [string, string])));
const range = z.string().refine(
  (text) => {
    const [address = '', prefix = '0', ...rest] = text.split('/');
    return (
      isIP(address) !== 0 &&
      !address.includes('%') &&
      rest.length === 0 &&
      /^[0-9]{1,3}$/.test(prefix) &&
      Number(prefix) <= (isIP(address) === 4 ? 32 : 128)
    );
  },
  { error: 'must be true, false, or addresses and ranges such as 10.1.2.0/24' },
);
/** Ids below belong to accounts and services; the last id of 32 bits means no id. */
const ids = z
  .string()
  .regex(/^[0-9]{1,10}-[0-9]{1,10}$/, { error: 'must be a range of ids such as 1879048192-1895825407' })
  .transform((text) => text.split('-').map(Number))
  .refine(([first = 0, last = 0]) => first >= 65_536 && first <= last && last < 2 ** 32 - 1, {
    error: 'must be a range of ids from 65536 to 4294967294',
  })
  .transform(([first = 0, last = 0]) => ({ first, last }));
const list = z.string().transform((text) => text.split(/[\s,]+/).filter((part) => part !== ''));

export const settings = {
  amqpUrl: setting(
    'IMAGEBUILDER_AMQP_URL',
    z.url({ protocol: /^amqps?$/, error: 'must be an amqp or amqps URL' }),
    'amqp://127.0.0.1:5672',
    'RabbitMQ. With a password in it, use the secret `imagebuilder-amqp-url` instead.',
  ),
  gatewayUrl: setting(
    'IMAGEBUILDER_GATEWAY_URL',
    url,
    'http://gateway.openfaas:8080',
    'The OpenFaaS gateway (or `imagebuilder serve`) through which `build-image` wakes a worker.',
  ),
  wakeSocket: setting(
    'IMAGEBUILDER_WAKE_SOCKET',
    z.union([z.literal(''), folder]),
    '',
    'Path of a Unix socket through which `build-image` wakes a worker, instead of through the network. `imagebuilder serve` sets it.',
  ),
  publicUrl: setting(
    'IMAGEBUILDER_PUBLIC_URL',
    z.union([z.literal(''), url]),
    '',
    'URL by which callers reach the API from outside; the `status_url` of an answer begins with it. Empty: `status_url` is a path only.',
  ),
  workDirectory: setting(
    'IMAGEBUILDER_WORK_DIRECTORY',
    folder,
    '/var/lib/imagebuilder/work',
    'Folder in which builds work; it needs room for one image and its changes for each parallel build.',
  ),
  cacheDirectory: setting(
    'IMAGEBUILDER_CACHE_DIRECTORY',
    folder,
    '/var/lib/imagebuilder/cache',
    'Folder of base images, package lists and packages, which all builds share.',
  ),
  storeDirectory: setting(
    'IMAGEBUILDER_STORE_DIRECTORY',
    folder,
    '/var/lib/imagebuilder/store',
    'Folder into which the file store puts finished images.',
  ),
  storeReaders: setting(
    'IMAGEBUILDER_STORE_READERS',
    z.enum(['owner', 'group', 'everyone'], { error: 'must be owner, group or everyone' }),
    'owner',
    'Users of the machine who may read images in the file store: `owner`, only the user that `build-worker` runs as; `group`, also the group of the store’s folder; `everyone`.',
  ),
  store: setting(
    'IMAGEBUILDER_STORE',
    z.enum(['auto', 'file', 'glance', 'swift'], { error: 'must be auto, file, glance or swift' }),
    'auto',
    'Store of finished images. `auto`: with OpenStack settings (`OS_*`, clouds.yaml), cloud images go to Glance and all others to Swift; without, all go to the file store.',
  ),
  glanceVisibility: setting(
    'IMAGEBUILDER_GLANCE_VISIBILITY',
    z.enum(['private', 'shared', 'community', 'public'], {
      error: 'must be private, shared, community or public',
    }),
    'private',
    'Visibility of images in Glance. `public` usually needs an administrator.',
  ),
  glanceProperties: setting(
    'IMAGEBUILDER_GLANCE_PROPERTIES',
    properties,
    '',
    'Properties that every image in Glance gets, such as `hw_disk_bus=virtio,hw_qemu_guest_agent=yes`.',
  ),
  swiftContainer: setting(
    'IMAGEBUILDER_SWIFT_CONTAINER',
    z.string().regex(/^[^/?#\s]{1,128}$/, { error: 'must be a name of at most 128 characters without "/"' }),
    'imagebuilder',
    'Container in Swift; created when missing.',
  ),
  swiftSegmentBytes: setting(
    'IMAGEBUILDER_SWIFT_SEGMENT_SIZE',
    bytes.refine((size) => size >= MiB, { error: 'must be at least 1M' }),
    '1G',
    'Larger images are uploaded to Swift in segments of this size.',
  ),
  swiftTemporaryUrlMs: setting(
    'IMAGEBUILDER_SWIFT_TEMPORARY_URL_LIFETIME',
    seconds,
    '604800',
    'Seconds for which a download URL of an image in Swift is good. Images have such a URL when the secret `swift-temporary-url-key` is set.',
  ),
  imageCacheBytes: setting(
    'IMAGEBUILDER_IMAGE_CACHE_SIZE',
    bytes,
    '20G',
    'Size of the cache of base images. The least recently used ones are dropped first.',
  ),
  aptCacheBytes: setting(
    'IMAGEBUILDER_APT_CACHE_SIZE',
    bytes,
    '10G',
    'Size of the cache of package lists and packages.',
  ),
  guest: setting(
    'IMAGEBUILDER_GUEST',
    z.enum(['auto', 'host', 'vm'], { error: 'must be auto, host or vm' }),
    'auto',
    'Guest that opens images. `vm` is a small virtual machine: it needs no privileges, and is slow without KVM. `host` mounts images: it needs root, and trusts every base image and package with root on the worker. `auto` takes `vm`.',
  ),
  guestMemoryBytes: setting(
    'IMAGEBUILDER_GUEST_MEMORY',
    bytes.refine((size) => size >= 64 * MiB, { error: 'must be at least 64M' }),
    '1536M',
    'Memory limit for all package scripts together in the `host` guest; a build that exceeds it fails. The `vm` guest has `IMAGEBUILDER_VM_MEMORY`.',
  ),
  guestProcesses: setting(
    'IMAGEBUILDER_GUEST_PROCESSES',
    wholeNumber.refine((count) => count >= 64, { error: 'must be at least 64' }),
    '2048',
    'Limit for processes and threads inside an image, in both guests; a build that exceeds it fails.',
  ),
  guestCpus: setting(
    'IMAGEBUILDER_GUEST_CPUS',
    z
      .string()
      .regex(/^([0-9]+(\.[0-9]+)?)?$/, { error: 'must be a number such as 1.5' })
      .transform((text) => (text === '' ? null : Number(text)))
      .refine((count) => count === null || count >= 0.05, { error: 'must be at least 0.05' }),
    '',
    'CPU limit for package scripts in the `host` guest, such as `1.5`: they are slowed down to that. Empty: no limit.',
  ),
  vmMemoryBytes: setting(
    'IMAGEBUILDER_VM_MEMORY',
    bytes.refine((size) => size >= 256 * MiB, { error: 'must be at least 256M' }),
    '768M',
    'Memory of the virtual machine; QEMU itself takes up to 400 MiB more.',
  ),
  vmSwapBytes: setting(
    'IMAGEBUILDER_VM_SWAP',
    bytes,
    '1G',
    'Swap space of the virtual machine, in the work directory; every build reserves it. 0: none.',
  ),
  vmCpus: setting(
    'IMAGEBUILDER_VM_CPUS',
    wholeNumber.refine((count) => count >= 1 && count <= 64, { error: 'must be from 1 to 64' }),
    '2',
    'Processors of the virtual machine.',
  ),
  vmNetwork: setting(
    'IMAGEBUILDER_VM_NETWORK',
    yesNo,
    'false',
    'Whether package scripts in the virtual machine reach the network: by http and https through the worker’s proxy, under the egress rules, and in no other way.',
  ),
  vmKernelPath: setting(
    'IMAGEBUILDER_VM_KERNEL',
    z.union([z.literal(''), folder]),
    '',
    'Path of the Linux kernel of the virtual machine, its modules in /lib/modules. Empty: the newest in /boot.',
  ),
  unprivilegedIds: setting(
    'IMAGEBUILDER_UNPRIVILEGED_IDS',
    ids,
    '1879048192-1895825407',
    'Range of user and group ids for programs that a worker that is root starts. Each use of a tool (QEMU and its tools, apt, gpg) gets a random one, and each build’s containers in the host guest get 65,536 in a row. No account and no other program may have these ids: at the end of a use, every process with its id is killed.',
  ),
  compression: setting(
    'IMAGEBUILDER_COMPRESSION',
    z.enum(['zlib', 'zstd'], { error: 'must be zlib or zstd' }),
    'zlib',
    'Compression of a full repack. zstd is faster and smaller, and needs QEMU 5.1 or later to read.',
  ),
  installRecommends: setting(
    'IMAGEBUILDER_INSTALL_RECOMMENDS',
    yesNo,
    'false',
    'Whether recommended packages are installed as well.',
  ),
  buildTimeoutMs: setting('IMAGEBUILDER_BUILD_TIMEOUT', seconds, '7200', 'Time limit of a build, in seconds.'),
  heartbeatMs: setting(
    'IMAGEBUILDER_HEARTBEAT',
    seconds,
    '20',
    'Seconds between events when nothing changes (at most 60).',
  ),
  leaseMs: setting(
    'IMAGEBUILDER_LEASE',
    seconds,
    '90',
    'Length of a lease, in seconds. Another worker claims a build whose worker has sent no heartbeat for this long.',
  ),
  maximumAttempts: setting(
    'IMAGEBUILDER_MAXIMUM_ATTEMPTS',
    wholeNumber.refine((count) => count > 0, { error: 'must be at least 1' }),
    '3',
    'Number of attempts of one build that may be lost to dead workers or guests before it fails.',
  ),
  cancelPollMs: setting('IMAGEBUILDER_CANCEL_POLL', seconds, '10', 'Seconds between looks at the `cancel_url`.'),
  callbackTimeoutMs: setting(
    'IMAGEBUILDER_CALLBACK_TIMEOUT',
    seconds,
    '300',
    'Seconds for which a callback that fails is retried.',
  ),
  eventRetentionSeconds: setting(
    'IMAGEBUILDER_EVENT_RETENTION',
    wholeNumber,
    '604800',
    'Seconds for which RabbitMQ keeps events; `status` knows finished builds for as long.',
  ),
  eventRetentionBytes: setting(
    'IMAGEBUILDER_EVENT_RETENTION_SIZE',
    bytes,
    '64M',
    'Size of the events stream beyond which RabbitMQ drops the oldest events. Each function reads the whole stream when it starts, at some 150 µs an event.',
  ),
  execTimeoutMs: setting(
    'IMAGEBUILDER_EXEC_TIMEOUT',
    seconds,
    '14400',
    'The exec_timeout of `build-worker`: seconds that one call may last. A worker takes no job when less than the build timeout is left of it.',
  ),
  maximumDownloadBytes: setting(
    'IMAGEBUILDER_MAXIMUM_DOWNLOAD',
    bytes,
    '20G',
    'Base images larger than this are refused.',
  ),
  maximumVirtualBytes: setting(
    'IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE',
    bytes,
    '64G',
    'Images whose disk is larger than this are refused.',
  ),
  maximumPackages: setting(
    'IMAGEBUILDER_MAXIMUM_PACKAGES',
    wholeNumber,
    '2000',
    'Builds that would install or upgrade more packages than this, dependencies included, are refused.',
  ),
  maximumLogBytes: setting(
    'IMAGEBUILDER_MAXIMUM_LOG',
    bytes.refine((size) => size >= MiB, { error: 'must be at least 1M' }),
    '64M',
    'Limit for the output of all scripts of a build; a build that exceeds it fails. A line counts as 64 bytes at least.',
  ),
  diskReserveBytes: setting(
    'IMAGEBUILDER_DISK_RESERVE',
    bytes,
    '1G',
    'Space that stays free in the folders for work, cache and store. A build that would take it waits for others to end, fails before it starts, or is stopped.',
  ),
  connectTimeoutMs: setting(
    'IMAGEBUILDER_CONNECT_TIMEOUT',
    seconds,
    '10',
    'Seconds to wait for a connection to a server.',
  ),
  stallTimeoutMs: setting(
    'IMAGEBUILDER_STALL_TIMEOUT',
    seconds,
    '60',
    'Seconds without a byte after which a download is cut and resumed. A download of less than 1 KiB a second is cut after four times as long.',
  ),
  egressAllowLoopback: setting(
    'IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK',
    yesNo,
    'false',
    'Whether URLs of a request may lead to the worker’s own machine: to loopback addresses, and to its addresses on any interface.',
  ),
  egressAllowPrivate: setting(
    'IMAGEBUILDER_EGRESS_ALLOW_PRIVATE',
    list
      .transform((parts) => (parts.join() === 'true' ? undefined : parts.join() === 'false' ? [] : parts))
      .pipe(z.array(range).optional()),
    'true',
    'Private addresses (RFC 1918, 100.64.0.0/10, fc00::/7 and the like) that URLs of a request may lead to: `true` for all, `false` for none, or only these, such as `10.1.2.0/24,fd12::/64`. Checked after DNS and at each redirect, for apt too.',
  ),
  egressAllowedHosts: setting(
    'IMAGEBUILDER_EGRESS_ALLOWED_HOSTS',
    list,
    '',
    'When set, only these hosts may be reached (names, `*.example.org`, or addresses; separated by commas). Link-local and cloud-metadata addresses are refused always.',
  ),
  egressTunnelPorts: setting(
    'IMAGEBUILDER_EGRESS_TUNNEL_PORTS',
    list.pipe(z.array(wholeNumber.refine((port) => port >= 1 && port <= 65535, { error: 'must be from 1 to 65535' }))),
    '443',
    'Ports at which https repositories may be reached, separated by commas. Package scripts can send anything to these ports.',
  ),
  egressAllowDowngrade: setting(
    'IMAGEBUILDER_EGRESS_ALLOW_DOWNGRADE',
    yesNo,
    'false',
    'Whether redirects from https to http are followed. Anybody on the way can change content that comes over http.',
  ),
  launchpadApiUrl: setting(
    'IMAGEBUILDER_LAUNCHPAD_API_URL',
    url,
    'https://api.launchpad.net/devel',
    'Launchpad’s API, which names the signing keys of PPAs.',
  ),
  ppaUrl: setting(
    'IMAGEBUILDER_PPA_URL',
    url,
    'https://ppa.launchpadcontent.net',
    'Server of PPAs; a PPA is at `URL/owner/name/ubuntu`.',
  ),
  logLevel: setting(
    'IMAGEBUILDER_LOG_LEVEL',
    z.enum(['debug', 'info', 'warn', 'error'], { error: 'must be debug, info, warn or error' }),
    'info',
    'Least severity that is logged: `debug`, `info`, `warn` or `error`.',
  ),
  workerName: setting(
    'IMAGEBUILDER_WORKER_NAME',
    z.string().max(128),
    '',
    'Name of this worker in events; empty: the host name.',
  ),
} as const satisfies Record<string, Setting>;

/** Files under the secrets directory, each optional. */
export const secretFiles = {
  amqpUrl: {
    file: 'imagebuilder-amqp-url',
    meaning: 'RabbitMQ’s URL with user and password; wins over IMAGEBUILDER_AMQP_URL.',
  },
  token: {
    file: 'imagebuilder-token',
    meaning:
      'A token that may do everything. With this secret, every call must carry `Authorization: Bearer` with a token.',
  },
  tokens: {
    file: 'imagebuilder-tokens',
    meaning:
      'Callers with tokens of their own, their roles and limits, as YAML or JSON ([docs/deploying.md](docs/deploying.md#callers)). With this secret, every call must carry a token.',
  },
  callbackSigningKey: { file: 'callback-signing-key', meaning: 'Key of the HMAC-SHA256 that signs callbacks.' },
  openstackClouds: {
    file: 'openstack-clouds',
    meaning: 'A whole clouds.yaml, passwords included; OS_CLOUD names the cloud where the file has several.',
  },
  openstackPassword: { file: 'openstack-password', meaning: 'The password of OS_USERNAME.' },
  openstackApplicationCredentialSecret: {
    file: 'openstack-application-credential-secret',
    meaning: 'The secret of OS_APPLICATION_CREDENTIAL_ID.',
  },
  swiftTemporaryUrlKey: {
    file: 'swift-temporary-url-key',
    meaning: 'Key with which download URLs of images in Swift are signed.',
  },
} as const;

type Settings = { readonly [Name in keyof typeof settings]: z.output<(typeof settings)[Name]['schema']> };

export interface Config extends Settings {
  readonly token: string | null;
  readonly tokenHolders: readonly TokenHolder[];
  readonly callbackSigningKey: string | null;
  readonly openstackClouds: string | null;
  readonly openstackPassword: string | null;
  readonly openstackApplicationCredentialSecret: string | null;
  readonly swiftTemporaryUrlKey: string | null;
  /** Every secret value, for redaction. */
  readonly secrets: readonly string[];
}

/**
 * Reads the configuration. OpenFaaS puts secrets under /var/openfaas/secrets; IMAGEBUILDER_SECRETS_DIRECTORY names
 * another place. Throws `config.invalid` with every fault at once.
 */
export function loadConfig(environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  const values: Record<string, unknown> = {};
  const faults: { path: string; message: string }[] = [];
  for (const [name, { variable, schema, fallback }] of Object.entries(settings)) {
    const text = environment[variable];
    const result = schema.safeParse(text === undefined || text === '' ? fallback : text);
    if (result.success) values[name] = result.data;
    else faults.push({ path: variable, message: result.error.issues.map((issue) => issue.message).join(', ') });
  }
  const secretsDirectory = environment.IMAGEBUILDER_SECRETS_DIRECTORY ?? '/var/openfaas/secrets';
  const amqpUrl = readSecret(secretsDirectory, secretFiles.amqpUrl.file);
  if (amqpUrl !== null) {
    if (settings.amqpUrl.schema.safeParse(amqpUrl).success) values.amqpUrl = amqpUrl;
    else faults.push({ path: `secret ${secretFiles.amqpUrl.file}`, message: 'must be an amqp or amqps URL' });
  }
  const secret = (name: keyof typeof secretFiles) => readSecret(secretsDirectory, secretFiles[name].file);
  const { tokenHolders, plainTokens, faults: tokenFaults } = readTokens(secretsDirectory, secret('token'));
  faults.push(...tokenFaults);
  const own = {
    token: secret('token'),
    callbackSigningKey: secret('callbackSigningKey'),
    openstackPassword: secret('openstackPassword'),
    openstackApplicationCredentialSecret: secret('openstackApplicationCredentialSecret'),
    swiftTemporaryUrlKey: secret('swiftTemporaryUrlKey'),
  };
  if (typeof values.heartbeatMs === 'number' && values.heartbeatMs > 60_000) {
    faults.push({
      path: settings.heartbeatMs.variable,
      message: 'must be at most 60 seconds: callers give up on silence',
    });
  }
  if (
    typeof values.heartbeatMs === 'number' &&
    typeof values.leaseMs === 'number' &&
    values.leaseMs < 2 * values.heartbeatMs
  ) {
    faults.push({
      path: settings.leaseMs.variable,
      message: `must be at least twice ${settings.heartbeatMs.variable}`,
    });
  }
  if (
    typeof values.execTimeoutMs === 'number' &&
    typeof values.buildTimeoutMs === 'number' &&
    values.execTimeoutMs < values.buildTimeoutMs
  ) {
    faults.push({
      path: settings.execTimeoutMs.variable,
      message: `must not be less than ${settings.buildTimeoutMs.variable}: no build would ever be taken`,
    });
  }
  if (faults.length > 0) {
    const detail = faults.map((fault) => `${fault.path} ${fault.message}`).join('; ');
    throw new ImageBuilderError('config.invalid', `the configuration has faults: ${detail}`, { faults });
  }
  const openstackClouds = secret('openstackClouds');
  const secrets = [
    ...passwordForms(values.amqpUrl),
    ...Object.values(own).filter((value) => value !== null),
    ...plainTokens,
    ...passwordsIn(openstackClouds ?? ''),
  ];
  return { ...(values as Settings), ...own, tokenHolders, openstackClouds, secrets };
}

/** The values of keys such as `password` in a clouds.yaml, of all of its clouds; empty where it is not YAML. */
function passwordsIn(yaml: string): string[] {
  const found: string[] = [];
  try {
    const collect = (key: unknown, value: unknown) => {
      if (/password|secret|token|passcode/i.test(String(key)) && value !== null && typeof value !== 'object') {
        found.push(String(value));
      }
      return value;
    };
    parse(yaml, collect, { logLevel: 'silent' });
  } catch {
    // The user of the secret reports that it cannot be parsed.
  }
  return found;
}

/** The password of a URL, as it is written there and as it is sent. */
function passwordForms(url: unknown): string[] {
  const encoded = typeof url === 'string' ? new URL(url).password : '';
  if (encoded === '') return [];
  try {
    return [encoded, decodeURIComponent(encoded)];
  } catch {
    return [encoded];
  }
}

/**
 * The callers of the file with tokens. A file that is there but empty is a fault: it must not open the API to
 * everybody.
 */
function readTokens(directory: string, oneToken: string | null): ReturnType<typeof readTokensFile> {
  const { file } = secretFiles.tokens;
  const text = readFile(directory, file);
  if (text === null) return { tokenHolders: [], plainTokens: [], faults: [] };
  const read = readTokensFile(text);
  const faults = read.faults.map(({ path, message }) => ({ path: `secret ${file} ${path}`.trimEnd(), message }));
  const twice =
    oneToken !== null && read.tokenHolders.some((holder) => holder.tokenDigests.includes(digestToken(oneToken)));
  if (twice) faults.push({ path: `secret ${file}`, message: `must not hold the token of ${secretFiles.token.file}` });
  return { ...read, faults };
}

function readSecret(directory: string, file: string): string | null {
  return readFile(directory, file) || null;
}

/** The text of a file without blanks around it; null where the file is missing. */
function readFile(directory: string, file: string): string | null {
  try {
    return readFileSync(join(directory, file), 'utf8').trim();
  } catch (error) {
    if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw new ImageBuilderError('config.invalid', `the secret ${file} cannot be read`, { cause: error });
  }
}
