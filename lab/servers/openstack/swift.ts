import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { freePorts } from '../ports.ts';
import { servicePassword } from './glance.ts';
import { ini, type Server, startServer } from './server.ts';

/** Swift from Debian's packages swift-*: proxy, account, container and object server, one replica on one device. */
export interface Swift extends AsyncDisposable {
  readonly proxy: Server;
  readonly object: Server;
  /** `http://127.0.0.1:PORT/v1`; an account is below. */
  readonly url: string;
  /** Restarts the proxy, which takes TempURLs with these digests. */
  setTemporaryUrlDigests(digests: readonly string[]): Promise<void>;
}

export interface SwiftOptions {
  readonly directory: string;
  readonly port: number;
  readonly authUrl: string;
  readonly certificateAuthority?: string | undefined;
  /** Largest object; a larger one needs segments. Default: Swift's own 5 GiB. */
  readonly maximumFileBytes?: number;
}

const kinds = ['account', 'container', 'object'] as const;
const script = (name: string) => join(import.meta.dirname, name);
/** The Python of Debian's modules, whatever other Python is first in the PATH. */
const python = '/usr/bin/python3';

export async function startSwift(options: SwiftOptions): Promise<Swift> {
  const { directory, port, maximumFileBytes } = options;
  const at = (name: string) => join(directory, name);
  await mkdir(at('devices/d1'), { recursive: true });
  const [memcachedPort = 0, ...ports] = await freePorts(1 + kinds.length);
  await writeFile(
    at('swift.conf'),
    ini({
      'swift-hash': { swift_hash_path_suffix: 'test' },
      ...(maximumFileBytes === undefined ? {} : { 'swift-constraints': { max_file_size: maximumFileBytes } }),
    }),
  );
  await exec(python, [script('swift-rings.py'), directory, ...ports.map(String)]);

  await using started = new AsyncDisposableStack();
  const memcached = startServer({
    name: 'memcached',
    port: memcachedPort,
    command: ['memcached', '-u', 'root', '-l', '127.0.0.1', '-p', String(memcachedPort), '-U', '0', '-m', '16'],
    readyUrl: null,
  });
  const server = async (kind: string, kindPort: number, sections: Parameters<typeof ini>[0]) => {
    await writeFile(at(`${kind}.conf`), ini(sections));
    return startServer({
      name: `swift-${kind}`,
      port: kindPort,
      command: [python, script('swift-server.py'), directory, kind],
      readyUrl: `http://127.0.0.1:${kindPort}/healthcheck`,
    });
  };
  const all = [
    memcached,
    server('proxy', port, proxySections(options, memcachedPort)),
    ...kinds.map((kind, index) => server(kind, ports[index] ?? 0, storageSections(kind, ports[index] ?? 0, directory))),
  ];
  for (const result of await Promise.allSettled(all)) {
    if (result.status === 'fulfilled') started.use(result.value);
  }
  const [, proxy, , , object] = await Promise.all(all);
  if (proxy === undefined || object === undefined) throw new Error('Swift lacks a server');
  const kept = started.move();
  return {
    proxy,
    object,
    url: `http://127.0.0.1:${port}/v1`,
    async setTemporaryUrlDigests(digests) {
      await proxy.stop();
      const sections = proxySections(options, memcachedPort);
      const tempurl = { use: 'egg:swift#tempurl', allowed_digests: digests.join(' ') };
      await writeFile(at('proxy.conf'), ini({ ...sections, 'filter:tempurl': tempurl }));
      await proxy.start();
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function defaults(port: number, directory: string) {
  return {
    bind_ip: '127.0.0.1',
    bind_port: port,
    workers: 0,
    user: 'root',
    swift_dir: directory,
    log_level: 'WARNING',
  };
}

function storageSections(kind: string, port: number, directory: string) {
  return {
    DEFAULT: {
      ...defaults(port, directory),
      devices: join(directory, 'devices'),
      mount_check: false,
      disable_fallocate: true,
    },
    'pipeline:main': { pipeline: `healthcheck ${kind}-server` },
    'filter:healthcheck': { use: 'egg:swift#healthcheck' },
    [`app:${kind}-server`]: { use: `egg:swift#${kind}` },
  };
}

function proxySections({ port, directory, authUrl, certificateAuthority }: SwiftOptions, memcachedPort: number) {
  const filters = ['catch_errors', 'gatekeeper', 'healthcheck', 'tempurl', 'slo', 'dlo'];
  return {
    DEFAULT: defaults(port, directory),
    'pipeline:main': {
      pipeline:
        'catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl authtoken keystoneauth container-quotas account-quotas slo dlo proxy-server',
    },
    'app:proxy-server': { use: 'egg:swift#proxy', account_autocreate: true },
    ...Object.fromEntries(filters.map((name) => [`filter:${name}`, { use: `egg:swift#${name}` }])),
    'filter:cache': { use: 'egg:swift#memcache', memcache_servers: `127.0.0.1:${memcachedPort}` },
    'filter:listing_formats': { use: 'egg:swift#listing_formats' },
    'filter:bulk': { use: 'egg:swift#bulk' },
    'filter:container-quotas': { use: 'egg:swift#container_quotas' },
    'filter:account-quotas': { use: 'egg:swift#account_quotas' },
    'filter:keystoneauth': { use: 'egg:swift#keystoneauth', operator_roles: 'admin, member' },
    'filter:authtoken': {
      'paste.filter_factory': 'keystonemiddleware.auth_token:filter_factory',
      www_authenticate_uri: authUrl,
      auth_url: authUrl,
      auth_type: 'password',
      username: 'swift',
      password: servicePassword,
      user_domain_id: 'default',
      project_name: 'service',
      project_domain_id: 'default',
      // TempURLs carry no token: so they reach their own check.
      delay_auth_decision: true,
      token_cache_time: -1,
      ...(certificateAuthority === undefined ? {} : { cafile: certificateAuthority }),
    },
  };
}
