import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { ini, type Server, startServer } from './server.ts';

/** Glance from Debian's package glance-api, on SQLite and files. */

export interface GlanceOptions {
  /** Folder with its database: `prepareGlance`. */
  readonly directory: string;
  readonly port: number;
  readonly authUrl: string;
  readonly certificateAuthority?: string | undefined;
  readonly imageSizeCapBytes?: number;
  /** Quota of one project, such as `30MB`. */
  readonly storageQuota?: string;
  readonly propertyQuota?: number;
  /** Default: Glance's own list. */
  readonly diskFormats?: readonly string[];
  /** Properties that only administrators may use. */
  readonly protectedProperties?: readonly string[];
}

export const servicePassword = 'service-password';

export async function startGlance(options: GlanceOptions): Promise<Server> {
  const { directory, port } = options;
  await writeGlanceConfiguration(options);
  return startServer({
    name: 'glance',
    port,
    command: ['glance-api', '--config-file', join(directory, 'glance-api.conf')],
    // Its oslo.log would write colours to a terminal.
    env: { TERM: 'dumb' },
    readyUrl: `http://127.0.0.1:${port}/versions`,
  });
}

/** Writes glance-api.conf; a restart applies it. */
export async function writeGlanceConfiguration(options: GlanceOptions): Promise<void> {
  const { directory, port, authUrl, certificateAuthority, imageSizeCapBytes, storageQuota, propertyQuota } = options;
  const { diskFormats, protectedProperties } = options;
  const at = (name: string) => join(directory, name);
  for (const name of ['images', 'staging', 'tasks', 'work', 'lock']) await mkdir(at(name), { recursive: true });
  const url = `http://127.0.0.1:${port}`;
  const rules = [...(protectedProperties ?? []).map((name) => [`^${name}$`, 'admin']), ['.*', 'admin,member']];
  const protection = rules.map(([name = '', role]) => [
    name,
    Object.fromEntries(['create', 'read', 'update', 'delete'].map((action) => [action, role])),
  ]);
  await writeFile(at('protection.conf'), ini(Object.fromEntries(protection)));
  const sections = {
    DEFAULT: {
      bind_host: '127.0.0.1',
      bind_port: port,
      workers: 0,
      use_stderr: true,
      enabled_backends: 'files:file',
      enabled_import_methods: '[]',
      node_staging_uri: `file://${at('staging')}`,
      public_endpoint: url,
      worker_self_reference_url: url,
      ...(imageSizeCapBytes === undefined ? {} : { image_size_cap: imageSizeCapBytes }),
      ...(storageQuota === undefined ? {} : { user_storage_quota: storageQuota }),
      ...(propertyQuota === undefined ? {} : { image_property_quota: propertyQuota }),
      ...(protectedProperties === undefined ? {} : { property_protection_file: at('protection.conf') }),
    },
    ...(diskFormats === undefined ? {} : { image_format: { disk_formats: diskFormats.join(',') } }),
    database: { connection: `sqlite:///${at('glance.db')}` },
    glance_store: { default_backend: 'files' },
    files: { filesystem_store_datadir: at('images') },
    os_glance_staging_store: { filesystem_store_datadir: at('staging') },
    os_glance_tasks_store: { filesystem_store_datadir: at('tasks') },
    task: { work_dir: at('work') },
    oslo_concurrency: { lock_path: at('lock') },
    paste_deploy: { config_file: '/etc/glance/glance-api-paste.ini', flavor: 'keystone' },
    keystone_authtoken: {
      www_authenticate_uri: authUrl,
      auth_url: authUrl,
      auth_type: 'password',
      username: 'glance',
      password: servicePassword,
      user_domain_id: 'default',
      project_name: 'service',
      project_domain_id: 'default',
      // A revoked token is refused at once.
      token_cache_time: -1,
      ...(certificateAuthority === undefined ? {} : { cafile: certificateAuthority }),
    },
  };
  await writeFile(at('glance-api.conf'), ini(sections));
}

/** Fills `directory` with a new database. */
export async function prepareGlance(directory: string): Promise<void> {
  await writeGlanceConfiguration({ directory, port: 1, authUrl: 'http://127.0.0.1:1' });
  await exec('glance-manage', ['--config-file', join(directory, 'glance-api.conf'), 'db_sync']);
}
