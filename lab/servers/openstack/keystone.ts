import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { ini, type Server, startServer } from './server.ts';

/** Keystone from Debian's package keystone, on SQLite, run by uwsgi. */

export interface KeystoneOptions {
  /** Folder with its database and keys: `prepareKeystone`. */
  readonly directory: string;
  readonly port: number;
  /** Default 3600. A start applies it. */
  readonly tokenLifetimeSeconds?: number;
  /** Files; with them it speaks HTTPS only. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly certificateAuthority: string };
}

export const adminPassword = 'admin-password';

export async function startKeystone(options: KeystoneOptions): Promise<Server> {
  const { directory, port, tls } = options;
  await writeKeystoneConfiguration(options);
  const address = `127.0.0.1:${port}`;
  const socket =
    tls === undefined ? ['--http-socket', address] : ['--https-socket', `${address},${tls.certificate},${tls.key}`];
  return startServer({
    name: 'keystone',
    port,
    command: [
      'uwsgi',
      ...['--plugins', 'python3', ...socket, '--wsgi-file', '/usr/bin/keystone-wsgi-public'],
      ...['--master', '--processes', '1', '--threads', '4', '--enable-threads', '--no-orphans', '--die-on-term'],
      ...['--need-app', '--lazy-apps', '--buffer-size', '65535'],
      // It closes every connection after its answer; without this header, clients try to use them again.
      ...['--add-header', 'Connection: close'],
    ],
    env: { OS_KEYSTONE_CONFIG_DIR: directory },
    readyUrl: `${tls === undefined ? 'http' : 'https'}://${address}/v3`,
    certificateAuthority: tls?.certificateAuthority,
  });
}

/** Writes keystone.conf, with folder and lifetime of tokens in it; a restart applies it. */
export async function writeKeystoneConfiguration(options: KeystoneOptions): Promise<void> {
  const { directory, tokenLifetimeSeconds = 3600 } = options;
  const at = (name: string) => join(directory, name);
  const sections = {
    DEFAULT: { use_stderr: true },
    database: { connection: `sqlite:///${at('keystone.db')}` },
    token: { provider: 'fernet', expiration: tokenLifetimeSeconds },
    fernet_tokens: { key_repository: at('fernet-keys') },
    fernet_receipts: { key_repository: at('fernet-keys') },
    credential: { key_repository: at('credential-keys') },
    cache: { backend: 'oslo_cache.dict' },
    identity: { password_hash_rounds: 4 },
  };
  await writeFile(at('keystone.conf'), ini(sections));
}

/** Fills `directory` with a new database, keys, the user `admin`, and Keystone's own `url` in the catalogue. */
export async function prepareKeystone(
  directory: string,
  { region, url }: { readonly region: string; readonly url: string },
): Promise<void> {
  await writeKeystoneConfiguration({ directory, port: 0 });
  const manage = (...args: string[]) =>
    exec('keystone-manage', ['--config-file', join(directory, 'keystone.conf'), ...args]);
  const asRoot = ['--keystone-user', 'root', '--keystone-group', 'root'];
  await Promise.all([manage('db_sync'), manage('fernet_setup', ...asRoot)]);
  await manage('credential_setup', ...asRoot);
  const urls = ['public', 'internal', 'admin'].flatMap((kind) => [`--bootstrap-${kind}-url`, url]);
  await manage('bootstrap', '--bootstrap-password', adminPassword, '--bootstrap-region-id', region, ...urls);
}
