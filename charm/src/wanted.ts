import { environmentText } from './environment-file.ts';
import { blocked, type Hindrance, waiting } from './hindrance.ts';
import { optionTable } from './option-table.ts';
import { authoritiesPath } from './places.ts';
import { type Cloud, cloudOf } from './relations/keystone.ts';
import { type Broker, brokerOf } from './relations/rabbitmq.ts';
import { storeHindrances } from './relations/stores.ts';
import { type JujuState, metricsTokenOption } from './state.ts';

/** The installation that belongs to a state of Juju. */
export interface Wanted {
  /** The reasons why the service must not run. */
  readonly hindrances: readonly Hindrance[];
  readonly port: number;
  /** Whether images are mounted, as root, rather than opened in a vm. */
  readonly hostGuest: boolean;
  /** The file of settings, in systemd's format. */
  readonly environment: string;
  /** Certificates that are trusted beside the usual ones; null for none. */
  readonly authorities: string | null;
  /** The files of secrets, by name. */
  readonly secrets: ReadonlyMap<string, string>;
  /** The operator's token that may do everything; null without one. */
  readonly token: string | null;
  /** The token for calls of the charm itself; null where everybody may call. */
  readonly callToken: string | null;
  /** Whether that is the charm's own, and one of the secrets. */
  readonly usesOwnToken: boolean;
  /** The token with which metrics are read; null where everybody may, undefined where nobody gave one. */
  readonly metricsToken: string | null | undefined;
  /** Name of this unit's worker in events. */
  readonly workerName: string;
}

/** A text of an option without blanks around it. */
const optionText = (state: JujuState, name: string): string => String(state.options[name] ?? '').trim();

export function wantedOf(state: JujuState): Wanted {
  const read = readSecrets(state);
  const { texts } = read;
  const parts: Parts = { state, texts, broker: brokerOf(state), cloud: cloudOf(state) };
  const token = texts.get('token') ?? null;
  const usesOwnToken = texts.has('tokens') && token === null;
  const callToken = token ?? (usesOwnToken ? state.ownToken : null);
  const authorities = authoritiesOf(parts);
  const place = state.storage === null ? 'the root disk' : `the storage ${state.storage.id}`;
  return {
    hindrances: hindrancesOf(parts, read.hindrances),
    port: Number(state.options.port),
    hostGuest: state.options.guest === 'host',
    environment: environmentText(variablesOf(parts), place),
    authorities: authorities === '' ? null : `${authorities}\n`,
    secrets: secretFilesOf(parts, usesOwnToken),
    token,
    callToken,
    usesOwnToken,
    metricsToken: texts.get(metricsTokenOption) ?? (callToken === null ? null : undefined),
    workerName: workerNameOf(state),
  };
}

/** All that settings and secrets are made of. */
interface Parts {
  readonly state: JujuState;
  /** The texts of the operator's secrets, by option. */
  readonly texts: ReadonlyMap<string, string>;
  readonly broker: Broker | Hindrance;
  /** Null where images do not go to OpenStack by a relation. */
  readonly cloud: Cloud | Hindrance | null;
}

/** Certificates of the operator and of keystone. */
function authoritiesOf({ state, cloud }: Parts): string {
  const ofCloud = cloud !== null && 'variables' in cloud ? (cloud.authorities ?? '') : '';
  return [optionText(state, 'ca-certificates'), ofCloud.trim()].filter((text) => text !== '').join('\n');
}

const workerNameOf = ({ unit }: JujuState): string => unit.replace('/', '-');

function hindrancesOf({ state, broker, cloud }: Parts, ofSecrets: readonly Hindrance[]): Hindrance[] {
  const { application, options, storage } = state;
  const isPort = (number: number) => Number.isInteger(number) && number >= 1 && number <= 65_535;
  const rabbitPort = Number(options['rabbit-port']);
  return [
    ...(isPort(Number(options.port))
      ? []
      : [blocked(`Option port must be from 1 to 65535: juju config ${application} port=8000`)]),
    ...(rabbitPort === 0 || isPort(rabbitPort)
      ? []
      : [blocked(`Option rabbit-port must be from 0 to 65535: juju config ${application} rabbit-port=0`)]),
    ...ofSecrets,
    ...('status' in broker ? [broker] : []),
    ...(cloud !== null && 'status' in cloud ? [cloud] : []),
    ...storeHindrances(state),
    ...(storage?.leaving ? [waiting(`The storage ${storage.id} is being detached`)] : []),
  ];
}

function variablesOf(parts: Parts): Record<string, string> {
  const { state, texts, cloud } = parts;
  const { address, options } = state;
  const names = [optionText(state, 'allowed-hosts'), address];
  return {
    IMAGEBUILDER_LISTEN: `${address.includes(':') ? '[::]' : '0.0.0.0'}:${Number(options.port)}`,
    IMAGEBUILDER_ALLOWED_HOSTS: names.filter((name) => name !== '').join(','),
    IMAGEBUILDER_WORKER_NAME: workerNameOf(state),
    IMAGEBUILDER_CA_FILE: authoritiesOf(parts) === '' ? '' : authoritiesPath,
    ...(cloud !== null && 'variables' in cloud ? cloud.variables : { OS_CLOUD: optionText(state, 'openstack-cloud') }),
    ...settingsOf(state, texts),
  };
}

function secretFilesOf({ state, texts, broker, cloud }: Parts, usesOwnToken: boolean): ReadonlyMap<string, string> {
  const secrets = new Map<string, string>();
  for (const [name, text] of texts) {
    const entry = optionTable.secrets[name];
    // A relation with keystone says more than a clouds.yaml.
    if (entry !== undefined && 'file' in entry && (name !== 'openstack-clouds' || cloud === null)) {
      secrets.set(entry.file, text);
    }
  }
  if (usesOwnToken) secrets.set('imagebuilder-token', state.ownToken);
  if ('url' in broker) {
    secrets.set('imagebuilder-amqp-url', broker.url);
    if (broker.authorities !== null) secrets.set('imagebuilder-amqp-ca', broker.authorities);
  }
  if (cloud !== null && 'password' in cloud) secrets.set('openstack-password', cloud.password);
  return secrets;
}

function settingsOf({ options }: JujuState, texts: ReadonlyMap<string, string>): Record<string, string> {
  const plain = Object.entries(optionTable.settings).map(([name, { variable }]) => [
    variable,
    String(options[name] ?? ''),
  ]);
  const hidden = Object.entries(optionTable.secrets).flatMap(([name, entry]) =>
    'variable' in entry ? [[entry.variable, texts.get(name) ?? '']] : [],
  );
  return Object.fromEntries([...plain, ...hidden]) as Record<string, string>;
}

/** The texts of the secrets that options name, by option. A secret has one key, whose name does not matter. */
function readSecrets({ application, options, secrets }: JujuState): {
  readonly texts: ReadonlyMap<string, string>;
  readonly hindrances: readonly Hindrance[];
} {
  const texts = new Map<string, string>();
  const hindrances: Hindrance[] = [];
  for (const [name, content] of Object.entries(secrets)) {
    const id = String(options[name]);
    if (content === null) {
      hindrances.push(
        blocked(
          `The secret of option ${name} cannot be read: juju grant-secret ${id} ${application}, or give the option another secret`,
        ),
      );
      continue;
    }
    // A secret that was made of a file ends with a line break.
    const [text = '', ...more] = Object.values(content).map((value) => value.trim());
    if (text === '' || more.length > 0) {
      hindrances.push(
        blocked(`The secret of option ${name} must have one key with a value: juju update-secret ${id} key#file=FILE`),
      );
    } else {
      texts.set(name, text);
    }
  }
  return { texts, hindrances };
}
