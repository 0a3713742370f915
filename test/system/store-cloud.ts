import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HttpSettings } from '#lib/config/http.ts';
import { loadConfig } from '#lib/config/load.ts';
import type { StoreSettings } from '#lib/config/store.ts';
import type { RetryPolicy } from '#lib/http/retrying.ts';
import { createLog } from '#lib/log.ts';
import { createOpenStackStores } from '#lib/store/choose.ts';
import { createGlance, type Glance } from '#lib/store/glance/api.ts';
import { type OpenStackConfiguration, readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import type { Session } from '#lib/store/openstack/session.ts';
import type { FinishedImage, Store } from '#lib/store/store.ts';
import { type Container, openContainer } from '#lib/store/swift/api.ts';
import type { OpenStack } from '../../lab/servers/openstack/openstack.ts';

/** The common part of the tests of the OpenStack stores. */

export const MiB = 1024 * 1024;
/** Retries as the product does, with shorter waits. */
export const quickRetry: RetryPolicy = { delayMs: 200, maximumDelayMs: 2_000, patienceMs: 60_000 };
export const never = new AbortController().signal;
export const quiet = { signal: never, onProgress: () => {} };

export async function configurationOf(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<OpenStackConfiguration> {
  const configuration = await readOpenStackConfiguration({
    environment,
    clouds: null,
    password: null,
    applicationCredentialSecret: null,
  });
  if (configuration === null) throw new Error('no OpenStack is configured');
  return configuration;
}

export interface Client {
  readonly session: Session;
  readonly glanceStore: Store;
  readonly swiftStore: Store;
  readonly glance: Glance;
  readonly container: Container;
  /** Lines of the log so far. */
  readonly lines: readonly string[];
}

/** The stores as a worker has them. */
export async function connect(
  cloud: Pick<OpenStack, 'environment'>,
  options: {
    readonly environment?: Readonly<Record<string, string | undefined>>;
    readonly settings?: Partial<StoreSettings & HttpSettings>;
    readonly retry?: RetryPolicy;
  } = {},
): Promise<Client> {
  const lines: string[] = [];
  const { folders, http, store } = loadConfig({});
  const settings = { ...folders, ...http, ...store, ...options.settings };
  const { session, glance, swift } = createOpenStackStores({
    settings,
    openStack: await configurationOf({ ...cloud.environment, ...options.environment }),
    userAgent: 'imagebuilder-test',
    // Without redaction, so that a secret would be seen.
    log: createLog({ level: 'debug', write: (line) => lines.push(line) }),
    retry: options.retry ?? quickRetry,
  });
  return {
    session,
    glanceStore: glance,
    swiftStore: swift,
    glance: createGlance(session),
    container: openContainer(session, settings.swiftContainer),
    lines,
  };
}

/** A finished image of random bytes. */
export async function finishedImage(
  directory: string,
  options: { readonly bytes?: number; readonly buildId?: string; readonly ticketId?: string } = {},
): Promise<FinishedImage> {
  const { bytes = 2 * MiB, buildId = randomUUID(), ticketId = 'T-77' } = options;
  const content = randomBytes(bytes);
  const digest = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
  const path = join(directory, `${buildId}-${digest('md5')}.img`);
  await writeFile(path, content);
  return {
    buildId,
    ticketId,
    name: `noble-T-77-${buildId.slice(0, 8)}.qcow2`,
    path,
    sizeBytes: bytes,
    checksums: { sha256: digest('sha256'), sha512: digest('sha512') },
    format: 'qcow2',
    series: 'noble',
    baseImageSha256: 'ab'.repeat(32),
    architecture: 'amd64',
    distribution: 'ubuntu',
    distributionVersion: '24.04',
  };
}

/** Calls `action` once, when so many bytes are sent; the socket's buffers hold a few MiB of them. */
export function afterBytes(bytes: number, action: () => void): (current: number) => void {
  let called = false;
  return (current) => {
    if (called || current < bytes) return;
    called = true;
    action();
  };
}

/** The whole text of an error, with its causes. */
export function allText(error: unknown): string {
  const parts: string[] = [];
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    parts.push(each.message, each.stack ?? '', JSON.stringify(each, Object.getOwnPropertyNames(each)));
  }
  return parts.join('\n');
}
