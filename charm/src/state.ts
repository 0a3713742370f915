import { randomBytes } from 'node:crypto';
import { exists, readText } from './files.ts';
import type { Hook } from './hook.ts';
import {
  type Data,
  ingressAddress,
  type OptionValue,
  readOptions,
  relationData,
  relationIds,
  relationUnits,
  secretContent,
  storageIds,
} from './hook-tools.ts';
import { optionTable } from './option-table.ts';
import { ownTokenPath, pausePath } from './places.ts';

/** All that Juju says about this unit. The wanted state of the machine depends on nothing else. */
export interface JujuState {
  readonly unit: string;
  readonly application: string;
  readonly options: Readonly<Record<string, OptionValue>>;
  /** By the name of the option; null where the operator has not granted the secret. Options that are empty are missing. */
  readonly secrets: Readonly<Record<string, Data | null>>;
  readonly relations: Readonly<Record<Endpoint, readonly Relation[]>>;
  readonly storage: Storage | null;
  /** The address by which others reach this unit. */
  readonly address: string;
  readonly paused: boolean;
  /** A token of the charm itself, for calls where only callers have tokens. */
  readonly ownToken: string;
}

export interface Relation {
  readonly id: string;
  readonly units: readonly RemoteUnit[];
}

export interface RemoteUnit {
  readonly name: string;
  readonly data: Data;
}

export interface Storage {
  readonly id: string;
  /** Whether it is detached after this hook. */
  readonly leaving: boolean;
}

/** The endpoints of charmcraft.yaml. */
export const endpoints = [
  'amqp',
  'identity-credentials',
  'image-service',
  'object-store',
  'image-builder',
  'cos-agent',
] as const;
/** The option with the token that the agent of COS gets. */
export const metricsTokenOption = 'metrics-token';
export type Endpoint = (typeof endpoints)[number];

/** Reads it all. What ends with this hook is not there any more. */
export function readState(hook: Hook): JujuState {
  const options = readOptions();
  const relations = endpoints.map((endpoint) => [endpoint, readRelations(endpoint, hook)] as const);
  const secrets = [...Object.keys(optionTable.secrets), metricsTokenOption].flatMap((name) => {
    const id = options[name];
    return typeof id === 'string' && id !== '' ? [[name, secretContent(id)] as const] : [];
  });
  return {
    unit: hook.unit,
    application: hook.application,
    options,
    secrets: Object.fromEntries(secrets),
    relations: Object.fromEntries(relations) as Record<Endpoint, Relation[]>,
    storage: readStorage(hook),
    address: ingressAddress('image-builder') ?? '127.0.0.1',
    paused: exists(pausePath),
    ownToken: readText(ownTokenPath) ?? randomBytes(32).toString('hex'),
  };
}

function readRelations(endpoint: Endpoint, hook: Hook): Relation[] {
  return relationIds(endpoint)
    .filter((id) => id !== hook.brokenRelation)
    .map((id) => ({
      id,
      units: relationUnits(id)
        .filter((name) => name !== hook.departingUnit)
        .sort()
        .map((name) => ({ name, data: relationData(id, name) })),
    }));
}

function readStorage(hook: Hook): Storage | null {
  const [id] = storageIds('data');
  if (id === undefined) return null;
  return { id, leaving: id === hook.leavingStorage };
}
