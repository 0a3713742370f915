import { environmentText } from './environment-file.ts';
import { blocked, type Hindrance, waiting } from './hindrance.ts';
import { optionTable } from './option-table.ts';
import { authoritiesPath } from './places.ts';
import { cloudOf } from './relations/keystone.ts';
import { brokerOf } from './relations/rabbitmq.ts';
import { storeHindrances } from './relations/stores.ts';
import type { JujuState } from './state.ts';

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
  /** Name of this unit's worker in events. */
  readonly workerName: string;
}

/** A text of an option without blanks around it. */
const optionText = (state: JujuState, name: string): string => String(state.options[name] ?? '').trim();

export function wantedOf(state: JujuState): Wanted {
  const { options, address, storage } = state;
  const { texts, hindrances: secretHindrances } = secretsOf(state);
  const broker = brokerOf(state);
  const cloud = cloudOf(state);
  const port = Number(options.port);
  const isPort = Number.isInteger(port) && port >= 1 && port <= 65_535;
  const hindrances = [
    ...(isPort ? [] : [blocked(`Option port must be from 1 to 65535: juju config ${state.application} port=8000`)]),
    ...secretHindrances,
    ...('status' in broker ? [broker] : []),
    ...(cloud !== null && 'status' in cloud ? [cloud] : []),
    ...storeHindrances(state),
    ...(storage?.leaving ? [waiting(`The storage ${storage.id} is being detached`)] : []),
  ];
  const workerName = state.unit.replace('/', '-');
  const usesOwnToken = texts.has('tokens') && !texts.has('token');
  const authorities = optionText(state, 'ca-certificates');
  const variables = {
    IMAGEBUILDER_LISTEN: `${address.includes(':') ? '[::]' : '0.0.0.0'}:${port}`,
    IMAGEBUILDER_ALLOWED_HOSTS: [optionText(state, 'allowed-hosts'), address].filter((name) => name !== '').join(','),
    IMAGEBUILDER_WORKER_NAME: workerName,
    ...(authorities === '' ? {} : { IMAGEBUILDER_CA_FILE: authoritiesPath }),
    ...(cloud !== null && 'variables' in cloud ? cloud.variables : { OS_CLOUD: optionText(state, 'openstack-cloud') }),
    ...settingsOf(state, texts),
  };
  const secrets = new Map<string, string>();
  for (const [name, text] of texts) {
    const entry = optionTable.secrets[name];
    if (entry !== undefined && 'file' in entry) secrets.set(entry.file, text);
  }
  if (usesOwnToken) secrets.set('imagebuilder-token', state.ownToken);
  if ('url' in broker) {
    secrets.set('imagebuilder-amqp-url', broker.url);
    if (broker.authorities !== null) secrets.set('imagebuilder-amqp-ca', broker.authorities);
  }
  if (cloud !== null && 'password' in cloud) secrets.set('openstack-password', cloud.password);
  return {
    hindrances,
    port,
    hostGuest: options.guest === 'host',
    environment: environmentText(variables, storage === null ? 'the root disk' : `the storage ${storage.id}`),
    authorities: authorities === '' ? null : `${authorities}\n`,
    secrets,
    token: texts.get('token') ?? null,
    callToken: texts.get('token') ?? (usesOwnToken ? state.ownToken : null),
    usesOwnToken,
    workerName,
  };
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
function secretsOf({ application, options, secrets }: JujuState): {
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
    const [text, ...more] = Object.values(content);
    if (text === undefined || text.trim() === '' || more.length > 0) {
      hindrances.push(
        blocked(`The secret of option ${name} must have one key with a value: juju update-secret ${id} key#file=FILE`),
      );
    } else {
      texts.set(name, text);
    }
  }
  return { texts, hindrances };
}
