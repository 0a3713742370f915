import { CommandError, run } from './run.ts';

/** Juju's hook tools, with the words by which charms of Canonical's library call them. */

export type Data = Readonly<Record<string, string>>;
export type OptionValue = string | number | boolean;
export type StatusName = 'active' | 'blocked' | 'maintenance' | 'waiting';

/** The answer of a tool, read as JSON. */
export function ask(tool: string, ...words: string[]): unknown {
  return JSON.parse(run(tool, ['--format=json', ...words]) || 'null');
}

/**
 * The same; null where Juju does not have the thing, or does not show it to this unit. Other failures are thrown, as of a
 * controller out of reach: a hook that took them for an answer would stop a service that has all it needs.
 */
export function askIfThere(tool: string, ...words: string[]): unknown {
  try {
    return ask(tool, ...words);
  } catch (error) {
    if (error instanceof CommandError && refusal.test(error.message)) return null;
    throw error;
  }
}

/** In the words of Juju: `secret "d0er" not found`, `permission denied`, `secret URI "x" not valid`. */
const refusal = /not found|permission denied|not valid|unauthorized/i;

export const readOptions = (): Readonly<Record<string, OptionValue>> =>
  (ask('config-get') ?? {}) as Record<string, OptionValue>;

/** Ids of the relations of an endpoint, such as `amqp:3`. */
export const relationIds = (endpoint: string): string[] => (ask('relation-ids', endpoint) ?? []) as string[];

/** Names of the remote units. */
export const relationUnits = (id: string): string[] => (ask('relation-list', '-r', id) ?? []) as string[];

export const relationData = (id: string, unit: string): Data =>
  (ask('relation-get', '-r', id, '-', unit) ?? {}) as Data;

/** Sets data of this unit; an empty text deletes a key. Others see it when the hook has ended well. */
export function setRelationData(id: string, data: Data): void {
  run('relation-set', ['-r', id, '--file', '-'], { input: JSON.stringify(data) });
}

/** The newest content of a secret; null where it was not granted, or is gone. */
export const secretContent = (id: string): Data | null => askIfThere('secret-get', id, '--refresh') as Data | null;

/** Ids of the storages of a name, such as `data/0`. */
export const storageIds = (name: string): string[] => (ask('storage-list', name) ?? []) as string[];

/** The address by which others reach this unit on an endpoint. */
export function ingressAddress(binding: string): string | null {
  const { 'ingress-addresses': addresses = [] } = ask('network-get', binding) as { 'ingress-addresses'?: string[] };
  return addresses[0] ?? null;
}

/** Open ports of this unit, such as `8000/tcp`. */
export const openedPorts = (): string[] => (ask('opened-ports') ?? []) as string[];
export const openPort = (port: string): unknown => run('open-port', [port]);
export const closePort = (port: string): unknown => run('close-port', [port]);

export function setStatus(name: StatusName, message: string): void {
  run('status-set', ['--application=False', name, '--', message]);
}

export const setVersion = (version: string): unknown => run('application-version-set', ['--', version]);

export function log(level: 'INFO' | 'WARNING' | 'ERROR', message: string): void {
  run('juju-log', ['--log-level', level, '--', message]);
}

export const actionParameters = (): Readonly<Record<string, unknown>> =>
  (ask('action-get') ?? {}) as Record<string, unknown>;

export const actionLog = (message: string): unknown => run('action-log', ['--', message]);
export const failAction = (message: string): unknown => run('action-fail', ['--', message]);

/** Results of an action. Keys are lower-case letters, digits and inner hyphens. */
export function setResults(results: Data): void {
  run(
    'action-set',
    Object.entries(results).map(([key, value]) => `${key}=${value}`),
  );
}
