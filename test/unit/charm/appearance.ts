import type { Unit } from './unit.ts';

/** All that others see of a unit. Ids of secrets are numbered in the order of their making. */
export function appearance({ model, machine, files, port }: Unit): unknown {
  const relations = [...model.relations].map(([id, { local }]) => {
    const { 'token-secret-id': secret, ...rest } = local;
    return [id, rest, secret !== undefined];
  });
  const secrets = [...model.ownSecrets.values()].map(({ content, grants }) => [content, [...grants].toSorted()]);
  const { status, ports, version } = model;
  const seen = { relations: relations.toSorted(), secrets, status, ports: [...ports], version, files: files() };
  const service = {
    active: machine.active,
    enabled: machine.enabled,
    started: machine.active && machine.starts.at(-1),
  };
  return JSON.parse(JSON.stringify({ seen, service }).replaceAll(String(port), 'PORT')) as unknown;
}
