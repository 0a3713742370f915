import { createHash } from 'node:crypto';
import { access, cp, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import got from 'got';
import { exec } from '#lib/exec.ts';
import { lock } from '#lib/lock.ts';
import { freePorts } from '../ports.ts';
import { prepareGlance, servicePassword } from './glance.ts';
import { adminPassword, prepareKeystone, startKeystone } from './keystone.ts';

/**
 * The initial state of every private OpenStack: databases, keys, users and a catalogue, made once (15 seconds) and then
 * copied. URLs are put into the catalogue after the copy.
 */

export const region = 'lab1';
/** Projects with one user each, of the same name, who has only this role there. */
export const projects = {
  builder: { name: 'builder', password: 'builder-password', role: 'member' },
  other: { name: 'other', password: 'other-password', role: 'member' },
  reader: { name: 'reader', password: 'reader-password', role: 'reader' },
} as const;
const catalogue = { keystone: 'identity', glance: 'image', swift: 'object-store' } as const;
const interfaces = ['public', 'internal', 'admin'] as const;
const placeholderUrl = 'http://127.0.0.1:1';

/** Copies the template to `directory`, made first where `cacheDirectory` has none. */
export async function copyTemplate(cacheDirectory: string, directory: string): Promise<void> {
  const versions = await exec('dpkg-query', ['-W', 'keystone', 'glance-api']);
  const sources = await Promise.all(
    ['template.ts', 'keystone.ts', 'glance.ts'].map((name) => readFile(join(import.meta.dirname, name), 'utf8')),
  );
  const key = createHash('sha256')
    .update([versions.stdout, ...sources].join('\0'))
    .digest('hex')
    .slice(0, 12);
  const path = join(cacheDirectory, key);
  await mkdir(cacheDirectory, { recursive: true });
  await using _lock = await lock(join(cacheDirectory, 'lock'));
  if (!(await exists(path))) {
    const making = await mkdtemp(join(cacheDirectory, 'making-'));
    try {
      await makeTemplate(making);
      await rename(making, path);
    } finally {
      await rm(making, { recursive: true, force: true });
    }
    for (const name of await readdir(cacheDirectory)) {
      if (name !== key && name !== 'lock') await rm(join(cacheDirectory, name), { recursive: true });
    }
  }
  await cp(path, directory, { recursive: true });
}

/** Puts the URLs of the services into the catalogue of a copy, which has no others then. Keystone must not be running. */
export function writeCatalogue(directory: string, urls: Readonly<Record<keyof typeof catalogue, string | null>>): void {
  const database = new DatabaseSync(join(directory, 'keystone', 'keystone.db'));
  try {
    const update = database.prepare(
      'UPDATE endpoint SET url = ? WHERE service_id IN (SELECT id FROM service WHERE type = ?)',
    );
    const remove = database.prepare('DELETE FROM endpoint WHERE service_id IN (SELECT id FROM service WHERE type = ?)');
    for (const [name, type] of Object.entries(catalogue)) {
      const url = urls[name as keyof typeof catalogue];
      if (url === null) remove.run(type);
      else update.run(url, type);
    }
  } finally {
    database.close();
  }
}

async function makeTemplate(directory: string): Promise<void> {
  const keystone = join(directory, 'keystone');
  const glance = join(directory, 'glance');
  for (const folder of [keystone, glance]) await mkdir(folder);
  await Promise.all([prepareKeystone(keystone, { region, url: placeholderUrl }), prepareGlance(glance)]);
  const [port = 0] = await freePorts(1);
  await using _server = await startKeystone({ directory: keystone, port });
  await seed(`http://127.0.0.1:${port}/v3`);
}

/** Creates users, projects and catalogue, as an operator would. */
async function seed(url: string): Promise<void> {
  const scope = { project: { name: 'admin', domain: { id: 'default' } } };
  const user = { name: 'admin', password: adminPassword, domain: { id: 'default' } };
  const { headers } = await got.post(`${url}/auth/tokens`, {
    json: { auth: { identity: { methods: ['password'], password: { user } }, scope } },
  });
  const admin = got.extend({
    prefixUrl: url,
    headers: { 'x-auth-token': String(headers['x-subject-token']) },
    responseType: 'json',
  });
  const create = async (path: string, kind: string, body: object) => {
    const answer = await admin.post<Record<string, { id: string }>>(path, { json: { [kind]: body } });
    return answer.body[kind]?.id ?? '';
  };
  const { body } = await admin.get<{ roles: { id: string; name: string }[] }>('roles');
  const role = (name: string) => body.roles.find((candidate) => candidate.name === name)?.id;
  const addUser = async (project: string, name: string, password: string, roleName: string) => {
    const id = await create('users', 'user', { name, password, domain_id: 'default' });
    await admin.put(`projects/${project}/users/${id}/roles/${role(roleName)}`, { responseType: 'text' });
  };

  const service = await create('projects', 'project', { name: 'service', domain_id: 'default' });
  for (const name of ['glance', 'swift']) await addUser(service, name, servicePassword, 'admin');
  for (const { name, password, role } of Object.values(projects)) {
    const project = await create('projects', 'project', { name, domain_id: 'default' });
    await addUser(project, name, password, role);
  }
  for (const [name, type] of Object.entries(catalogue)) {
    // `bootstrap` has made Keystone's own entry.
    if (type === 'identity') continue;
    const serviceId = await create('services', 'service', { name, type });
    for (const kind of interfaces) {
      await create('endpoints', 'endpoint', {
        interface: kind,
        region_id: region,
        service_id: serviceId,
        url: placeholderUrl,
      });
    }
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
