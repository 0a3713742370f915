import type { Data } from './model.ts';
import type { Unit } from './unit.ts';

/** Relations with the applications that the charm knows, with data as these set it. */

/** Characters that a URL has other uses for. */
export const oddPassword = 'pa/ss+wo@rd:%1#?';

export const rabbit = (host = '10.0.0.9', password = 'rabbit-password'): Data => ({
  hostname: host,
  'private-address': host,
  password,
});

export const keystone: Data = {
  credentials_host: 'keystone.example',
  credentials_port: '5000',
  credentials_protocol: 'https',
  credentials_username: 'imagebuilder',
  credentials_password: 'keystone-password',
  credentials_project: 'services',
  credentials_project_id: 'c508bd40bd5a48e88b22d3812ddfbfb8',
  credentials_user_domain_name: 'service_domain',
  credentials_project_domain_name: 'service_domain',
  auth_host: '10.0.0.20',
  auth_port: '35357',
  auth_protocol: 'https',
  api_version: '3',
  region: 'RegionOne',
};

/** Relates the unit, and runs the hooks that Juju runs then. */
export async function relate(unit: Unit, id: string, units: Readonly<Record<string, Data>> = {}): Promise<void> {
  const endpoint = id.slice(0, id.indexOf(':'));
  unit.model.relations.set(id, { units: new Map(Object.entries(units)), local: {} });
  await unit.hook(`${endpoint}-relation-changed`, { JUJU_RELATION_ID: id });
}

/** Ends a relation: its id is still listed in the hook. */
export async function breakRelation(unit: Unit, id: string): Promise<void> {
  const endpoint = id.slice(0, id.indexOf(':'));
  unit.model.relations.get(id)?.units.clear();
  await unit.hook(`${endpoint}-relation-broken`, { JUJU_RELATION_ID: id });
  unit.model.relations.delete(id);
}

/** A unit whose service runs. */
export async function start(unit: Unit): Promise<void> {
  unit.model.relations.set('amqp:1', { units: new Map([['rabbitmq-server/0', rabbit()]]), local: {} });
  await unit.hook('install');
}
