import got from 'got';
import type { RetryPolicy } from '#lib/http/retrying.ts';
import { createOpenStackStores, type StoreInputs } from '#lib/store/choose.ts';
import { createGlance, type Glance } from '#lib/store/glance/api.ts';
import type { Session } from '#lib/store/openstack/session.ts';
import type { Store } from '#lib/store/store.ts';
import { type Container, openContainer } from '#lib/store/swift/api.ts';
import type { OpenStack } from '../../lab/servers/openstack/openstack.ts';
import { projects } from '../../lab/servers/openstack/template.ts';
import { never } from '../conformance/finished-build.ts';
import type { StoreUnderTest } from '../conformance/store.ts';
import { type Environment, storeInputs } from '../conformance/store-inputs.ts';

/** The common part of the tests of the OpenStack stores. */

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
    readonly environment?: Environment;
    readonly settings?: Partial<StoreInputs['settings']>;
    readonly retry?: RetryPolicy;
  } = {},
): Promise<Client> {
  const lines: string[] = [];
  const { openStack, ...inputs } = await storeInputs({ ...cloud.environment, ...options.environment }, lines);
  if (openStack === null) throw new Error('no OpenStack is configured');
  const settings = { ...inputs.settings, ...options.settings };
  const retry = options.retry ?? inputs.retry;
  const { session, glance, swift } = createOpenStackStores({ ...inputs, openStack, settings, ...(retry && { retry }) });
  return {
    session,
    glanceStore: glance,
    swiftStore: swift,
    glance: createGlance(session),
    container: openContainer(session, settings.swiftContainer),
    lines,
  };
}

/** The parts of a conformance test that are alike for Glance and Swift. */
export function storeInCloud(cloud: OpenStack, client: Client) {
  return {
    environment: cloud.environment,
    secrets: Object.values(projects)
      .map(({ password }): string => password)
      .concat('gAAAA'),
    lose: ({ id }) => client.container.remove(id, { signal: never }),
    loseImage: ({ id }) => client.container.remove(id, { signal: never }),
    async putForeign(buildId) {
      const names = [`${buildId}/notes`, `logs/${buildId}/notes`, 'notes', '0-notes'];
      const body = { path: import.meta.filename, startByte: 0, bytes: 100 };
      for (const name of names) await client.container.upload(name, body, {}, { signal: never });
    },
    async read({ location }: { readonly location: string }) {
      const { stdout } = await cloud.command(['token', 'issue', '-f', 'value', '-c', 'id']);
      const url = location.startsWith(cloud.glanceUrl) ? `${location}/file` : location;
      return Buffer.from(await got(url, { headers: { 'x-auth-token': stdout.trim() } }).buffer());
    },
  } satisfies Partial<StoreUnderTest>;
}
