import { isUtf8 } from 'node:buffer';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { passwordsOf } from '../broker-address.ts';
import { ImageBuilderError, isNodeError, type RequestFault } from '../errors.ts';
import { readTokensFile } from './tokens-file.ts';

/** Every secret, once. Secrets are files in the secrets directory, each optional, and never environment variables. */

/** The functions of stack.yml. The command `imagebuilder` reads all secrets. */
export type FunctionName = 'status' | 'build-image' | 'images' | 'build-worker';

interface SecretFile {
  readonly file: string;
  /** The functions that have a use for it. The others do not read it. */
  readonly readers: readonly FunctionName[];
  /** For the table in README.md (`npm run docs`). */
  readonly meaning: string;
  /** A key of which each byte counts: bytes that are not UTF-8 would become other bytes. */
  readonly key?: true;
  /** The parts of the text that must appear nowhere. */
  readonly hidden: (text: string) => readonly string[];
}

const everyFunction = ['status', 'build-image', 'images', 'build-worker'] as const;
const storeFunctions = ['images', 'build-worker'] as const;
const whole = (text: string) => [text];

export const secretFiles = {
  amqpUrl: {
    file: 'imagebuilder-amqp-url',
    readers: everyFunction,
    meaning: 'RabbitMQ’s URL, or several, with user and password; wins over IMAGEBUILDER_AMQP_URL.',
    hidden: passwordsOf,
  },
  amqpCa: {
    file: 'imagebuilder-amqp-ca',
    readers: everyFunction,
    meaning:
      'Certificates (PEM) of the authorities that RabbitMQ’s certificate may come from, in place of the public ones.',
    hidden: () => [],
  },
  amqpCertificate: {
    file: 'imagebuilder-amqp-certificate',
    readers: everyFunction,
    meaning: 'Certificate (PEM) that RabbitMQ gets from its clients.',
    hidden: () => [],
  },
  amqpKey: {
    file: 'imagebuilder-amqp-key',
    readers: everyFunction,
    meaning: 'Private key (PEM) of that certificate.',
    hidden: whole,
  },
  token: {
    file: 'imagebuilder-token',
    readers: ['status', 'build-image', 'images'],
    meaning:
      'A token that may do everything. With this secret, every call must carry `Authorization: Bearer` with a token.',
    hidden: whole,
  },
  tokens: {
    file: 'imagebuilder-tokens',
    readers: ['status', 'build-image', 'images'],
    meaning:
      'Callers with tokens of their own, their roles and limits, as YAML or JSON ([docs/deploying.md](docs/deploying.md#callers)). With this secret, every call must carry a token.',
    hidden: (text) => readTokensFile(text).plainTokens,
  },
  callbackSigningKey: {
    file: 'callback-signing-key',
    readers: ['build-worker'],
    meaning:
      'Key of the HMAC-SHA256 that signs callbacks, as text without blanks around it ([docs/api.md](docs/api.md#callback)).',
    key: true,
    hidden: whole,
  },
  provenanceSigningKey: {
    file: 'provenance-signing-key',
    readers: ['build-worker'],
    meaning:
      'Private key (PEM; Ed25519, or ECDSA over P-256) that signs the provenance of images ([docs/artifacts.md](docs/artifacts.md#provenance-provenancejson)). Without it, no provenance is written.',
    hidden: whole,
  },
  imageSigningKey: {
    file: 'image-signing-key',
    readers: ['build-worker'],
    meaning:
      'OpenPGP private key (ASCII armour; RSA, without a passphrase) that signs images and their descriptions as `.asc` ([docs/artifacts.md](docs/artifacts.md#signatures-asc)). Without it, no signature is written.',
    hidden: whole,
  },
  proxyCredentials: {
    file: 'proxy-credentials',
    readers: storeFunctions,
    meaning: 'User and password for the proxies whose URL has none, as `user:password`.',
    hidden: (text) => [text, text.slice(text.indexOf(':') + 1)],
  },
  openstackClouds: {
    file: 'openstack-clouds',
    readers: storeFunctions,
    meaning: 'A whole clouds.yaml, passwords included; OS_CLOUD names the cloud where the file has several.',
    hidden: passwordsOfClouds,
  },
  openstackPassword: {
    file: 'openstack-password',
    readers: storeFunctions,
    meaning: 'The password of OS_USERNAME.',
    hidden: whole,
  },
  openstackApplicationCredentialSecret: {
    file: 'openstack-application-credential-secret',
    readers: storeFunctions,
    meaning: 'The secret of OS_APPLICATION_CREDENTIAL_ID.',
    hidden: whole,
  },
  swiftTemporaryUrlKey: {
    file: 'swift-temporary-url-key',
    readers: storeFunctions,
    meaning: 'Key with which download URLs of images in Swift are signed.',
    key: true,
    hidden: whole,
  },
} as const satisfies Record<string, SecretFile>;

export type SecretName = keyof typeof secretFiles;

/** The texts of the secrets without blanks around them; null for those that are missing or not this reader's. */
export type Secrets = Readonly<Record<SecretName, string | null>>;

/**
 * The folder of the secrets: OpenFaaS's own, or the one that IMAGEBUILDER_SECRETS_DIRECTORY names. A function without
 * secrets has no folder at OpenFaaS's place. One that is named and not there is a fault: the API would be open to
 * everybody, without the token that was to guard it.
 */
export function findSecrets(named: string | undefined): {
  readonly directory: string;
  readonly faults: readonly RequestFault[];
} {
  if (!named) return { directory: '/var/openfaas/secrets', faults: [] };
  if (isFolder(named)) return { directory: named, faults: [] };
  const message = `names ${named}, which is no folder that this user can reach; make it, or leave the variable out`;
  return { directory: named, faults: [{ path: 'IMAGEBUILDER_SECRETS_DIRECTORY', message }] };
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    if (isNodeError(error)) return false;
    throw error;
  }
}

/** Reads the secrets of a function, or of the command where it is null. Throws `config.invalid`. */
export function readSecrets(directory: string, reader: FunctionName | null): Secrets {
  const rows = Object.entries(secretFiles) as [SecretName, SecretFile][];
  const texts = rows.map(([name, row]) => {
    const wanted = reader === null || row.readers.includes(reader);
    return [name, wanted ? readSecret(directory, row) : null] as const;
  });
  return Object.fromEntries(texts) as Record<SecretName, string | null>;
}

/** Every value in the secrets that must appear nowhere. */
export function hiddenIn(secrets: Secrets): string[] {
  const rows = Object.entries(secretFiles) as [SecretName, SecretFile][];
  return rows.flatMap(([name, { hidden }]) => (secrets[name] ? hidden(secrets[name]) : []));
}

function readSecret(directory: string, { file, key }: SecretFile): string | null {
  const bytes = readBytes(directory, file);
  if (bytes === null) return null;
  if (key && !isUtf8(bytes)) {
    throw new ImageBuilderError(
      'config.invalid',
      `the secret ${file} is not text in UTF-8; make it of text, such as the output of: openssl rand -hex 32`,
    );
  }
  return bytes.toString('utf8').trim();
}

function readBytes(directory: string, file: string): Buffer | null {
  try {
    return readFileSync(join(directory, file));
  } catch (error) {
    if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw new ImageBuilderError('config.invalid', `the secret ${file} cannot be read`, { cause: error });
  }
}

/** The values of keys such as `password` in a clouds.yaml, of all of its clouds; empty where it is not YAML. */
function passwordsOfClouds(yaml: string): string[] {
  const found: string[] = [];
  try {
    const collect = (key: unknown, value: unknown) => {
      if (/password|secret|token|passcode/i.test(String(key)) && value !== null && typeof value !== 'object') {
        found.push(String(value));
      }
      return value;
    };
    parse(yaml, collect, { prettyErrors: false, logLevel: 'silent' });
  } catch {
    // The user of the secret reports that it cannot be parsed.
  }
  return found;
}
