import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type ExecResult, exec } from '#lib/exec.ts';
import { freePorts } from '../ports.ts';
import { type GlanceOptions, startGlance, writeGlanceConfiguration } from './glance.ts';
import { type KeystoneOptions, startKeystone, writeKeystoneConfiguration } from './keystone.ts';
import type { Server } from './server.ts';
import { type Swift, type SwiftOptions, startSwift } from './swift.ts';
import { copyTemplate, projects, region, writeCatalogue } from './template.ts';

/**
 * A private OpenStack of Debian's own packages: Keystone, and Glance and Swift where wanted, on loopback and free
 * ports, with all their files in one folder. About 4 seconds, and 15 more the first time. They end with this process.
 */
export interface OpenStack extends AsyncDisposable {
  readonly authUrl: string;
  readonly region: string;
  readonly keystone: Server;
  /** Throws where the options did not include it. */
  readonly glance: Server;
  readonly swift: Swift;
  readonly glanceUrl: string;
  readonly directory: string;
  /** The OS_* variables of the project `builder`. */
  readonly environment: Readonly<Record<string, string>>;
  /** Restarts Keystone with a new lifetime of tokens. */
  setTokenLifetime(seconds: number): Promise<void>;
  /** Restarts Glance with other limits; an absent one does not hold. */
  setGlanceLimits(limits: GlanceLimits): Promise<void>;
  /** Debian's own `openstack` command as the user of project `builder`, about two seconds each. */
  command(args: readonly string[]): Promise<ExecResult>;
}

export type GlanceLimits = Pick<
  GlanceOptions,
  'imageSizeCapBytes' | 'storageQuota' | 'propertyQuota' | 'diskFormats' | 'protectedProperties'
>;

export interface OpenStackOptions {
  readonly services?: readonly ('glance' | 'swift')[];
  readonly tls?: KeystoneOptions['tls'];
  readonly swift?: Pick<SwiftOptions, 'maximumFileBytes'>;
  /** Folder of its data, kept afterwards. Default: a temporary folder, removed afterwards. */
  readonly directory?: string;
  /** Called with a line about each step. */
  readonly onProgress?: (line: string) => void;
}

const cacheDirectory = resolve(import.meta.dirname, '../../../.cache/openstack');

/** Starts the servers and resolves when all of them answer. */
export async function startOpenStack(options: OpenStackOptions = {}): Promise<OpenStack> {
  const { services = ['glance', 'swift'], tls, onProgress = () => {} } = options;
  await using started = new AsyncDisposableStack();
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'imagebuilder-openstack-')));
  if (options.directory === undefined) started.defer(() => rm(directory, { recursive: true, force: true }));
  onProgress('preparing a private OpenStack');
  await copyTemplate(cacheDirectory, directory);

  const [keystonePort = 0, glancePort = 0, swiftPort = 0] = await freePorts(3);
  const authUrl = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${keystonePort}/v3`;
  const glanceUrl = `http://127.0.0.1:${glancePort}`;
  writeCatalogue(directory, {
    keystone: authUrl,
    glance: services.includes('glance') ? glanceUrl : null,
    swift: services.includes('swift') ? `http://127.0.0.1:${swiftPort}/v1/AUTH_%(project_id)s` : null,
  });
  const keystoneOptions = { directory: join(directory, 'keystone'), port: keystonePort, ...(tls && { tls }) };
  const certificateAuthority = tls?.certificateAuthority;
  const glanceOptions = { directory: join(directory, 'glance'), port: glancePort, authUrl, certificateAuthority };
  onProgress(`starting Keystone${services.map((name) => `, ${name}`).join('')}`);
  const starting = [
    startKeystone(keystoneOptions),
    services.includes('glance') ? startGlance(glanceOptions) : null,
    services.includes('swift')
      ? startSwift({
          directory: join(directory, 'swift'),
          port: swiftPort,
          authUrl,
          certificateAuthority,
          ...options.swift,
        })
      : null,
  ] as const;
  for (const result of await Promise.allSettled(starting)) {
    if (result.status === 'fulfilled' && result.value !== null) started.use(result.value);
  }
  const [keystone, glance, swift] = await Promise.all(starting);
  onProgress(`OpenStack is ready: Keystone at ${authUrl}`);

  const environment = {
    OS_AUTH_URL: authUrl,
    OS_USERNAME: projects.builder.name,
    OS_PASSWORD: projects.builder.password,
    OS_PROJECT_NAME: projects.builder.name,
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_REGION_NAME: region,
    OS_IDENTITY_API_VERSION: '3',
    ...(certificateAuthority === undefined ? {} : { OS_CACERT: certificateAuthority }),
  };
  const kept = started.move();
  return {
    authUrl,
    region,
    keystone,
    get glance() {
      return asked(glance, 'glance');
    },
    get swift() {
      return asked(swift, 'swift');
    },
    glanceUrl,
    directory,
    environment,
    async setTokenLifetime(tokenLifetimeSeconds) {
      await keystone.stop();
      await writeKeystoneConfiguration({ ...keystoneOptions, tokenLifetimeSeconds });
      await keystone.start();
    },
    async setGlanceLimits(limits) {
      await asked(glance, 'glance').stop();
      await writeGlanceConfiguration({ ...glanceOptions, ...limits });
      await asked(glance, 'glance').start();
    },
    command: (args) => exec('openstack', args, { env: { ...environment, HOME: directory } }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function asked<Service>(service: Service | null, name: string): Service {
  if (service === null) throw new Error(`${name} was not asked for`);
  return service;
}
