import type { FolderSettings } from '../config/folders.ts';
import type { HttpSettings } from '../config/http.ts';
import type { StoreSettings } from '../config/store.ts';
import { ImageBuilderError } from '../errors.ts';
import type { RetryPolicy } from '../http/retrying.ts';
import type { Log } from '../log.ts';
import type { Trust } from '../trust.ts';
import { openFileObjects } from './file/file-objects.ts';
import { createFileStore } from './file/file-store.ts';
import { createGlance } from './glance/api.ts';
import { createGlanceStore } from './glance/glance-store.ts';
import type { OpenStackConfiguration } from './openstack/configuration.ts';
import { createSession, type Session } from './openstack/session.ts';
import { createTransport } from './openstack/transport.ts';
import type { Store, StoreCheck } from './store.ts';
import { openObjects } from './swift/objects.ts';
import { createSwiftStore } from './swift/swift-store.ts';

/** Chooses the store for images. */

/** Long enough for a server to be restarted or replaced. */
const defaultRetry = { delayMs: 500, maximumDelayMs: 8_000, patienceMs: 60_000 } as const satisfies RetryPolicy;

/** For a person, or a call, that waits: servers out of reach get less time than in a build. */
export const impatientRetry = {
  delayMs: 500,
  maximumDelayMs: 2_000,
  patienceMs: 5_000,
} as const satisfies RetryPolicy;

export interface StoreInputs {
  readonly settings: StoreSettings & HttpSettings & Pick<FolderSettings, 'storeDirectory' | 'storeReaders'>;
  /** Null where there is no OpenStack. */
  readonly openStack: OpenStackConfiguration | null;
  readonly userAgent: string;
  readonly log: Log;
  /** Time for which servers out of reach are tried. Default: a minute. */
  readonly retry?: RetryPolicy;
}

/** The stores of finished images. */
export interface ChosenStores {
  /** In plain words. */
  readonly description: string;
  /** The stores in use. */
  readonly stores: readonly Store[];
  /** The checks of all of these. */
  readonly checks: readonly StoreCheck[];
  /** The store for images of a kind (`image_type`). */
  for(imageType: string): Store;
  /** Of the cloud; null without one. */
  readonly session: Session | null;
  /** Whether an image is in Glance no more; null where Glance is not in use. Throws `store.failed`. */
  readonly isGone: ((imageId: string, options: { readonly signal: AbortSignal }) => Promise<boolean>) | null;
}

/**
 * Chooses the stores by the settings. Sends nothing. Throws `config.invalid` where OpenStack is wanted but not
 * configured.
 */
export function chooseStores(inputs: StoreInputs): ChosenStores {
  const { settings, openStack } = inputs;
  if (settings.store === 'file' || (settings.store === 'auto' && openStack === null)) {
    const store = createFileStore(settings.storeDirectory, settings.storeReaders);
    const why = settings.store === 'file' ? '' : ', as no OpenStack is configured';
    const description = `images go to the file store ${settings.storeDirectory}${why}`;
    return { description, stores: [store], checks: [], for: () => store, session: null, isGone: null };
  }
  if (openStack === null) {
    throw new ImageBuilderError(
      'config.invalid',
      `IMAGEBUILDER_STORE is ${settings.store}, but nothing says where OpenStack is: set OS_CLOUD or OS_AUTH_URL, or the secret openstack-clouds`,
    );
  }
  const { session, glance, swift, isGone } = createOpenStackStores({ ...inputs, openStack });
  const checks = [keystoneCheck(session)];
  const describe = (where: string) => `${openStack.source}; ${where}`;
  if (settings.store === 'auto') {
    const description = describe('cloud images go to Glance, all others to Swift');
    const forType = (imageType: string) => (imageType === 'cloud' ? glance : swift);
    return { description, stores: [glance, swift], checks, for: forType, session, isGone };
  }
  const [store, name] = settings.store === 'glance' ? [glance, 'Glance'] : [swift, 'Swift'];
  return {
    ...{ description: describe(`images go to ${name}`), stores: [store], checks, for: () => store },
    ...{ session, isGone: store === glance ? isGone : null },
  };
}

function keystoneCheck(session: Session): StoreCheck {
  return {
    what: 'Keystone',
    changes: false,
    look: async (signal) => `a token for the project ${await session.projectId({ signal })}`,
  };
}

/** The certificates of the cloud, beside those of the settings. A proxy gets to see none that is meant for the cloud. */
function trustOf({ trust }: OpenStackConfiguration, { proxies, trust: ours }: HttpSettings): Trust {
  if (trust === null) return ours;
  const proxyHosts = [proxies.http?.host, proxies.https?.host];
  const hosts = [{ port: null, isOf: (host: string) => !proxyHosts.includes(host) }];
  const clients = trust.client === null ? [] : [{ hosts, ...trust.client }];
  return { authorities: ours.authorities, only: trust.only, clients: [...clients, ...ours.clients] };
}

/** Both stores of one OpenStack, and the session that they share. */
export function createOpenStackStores({
  settings,
  openStack,
  userAgent,
  log,
  retry = defaultRetry,
}: StoreInputs & { readonly openStack: OpenStackConfiguration }): {
  session: Session;
  glance: Store;
  swift: Store;
  isGone: NonNullable<ChosenStores['isGone']>;
} {
  const transport = createTransport({
    proxies: settings.proxies,
    trust: trustOf(openStack, settings),
    connectTimeoutMs: settings.connectTimeoutMs,
    stallTimeoutMs: settings.stallTimeoutMs,
    userAgent,
  });
  const session = createSession({ configuration: openStack, transport, retry });
  const key = settings.swiftTemporaryUrlKey;
  const objects = openObjects({
    session,
    container: settings.swiftContainer,
    segmentBytes: settings.swiftSegmentBytes,
    temporaryUrl: key === null ? null : { key, lifetimeMs: settings.swiftTemporaryUrlMs },
    retry,
    log,
  });
  return {
    session,
    glance: createGlanceStore({
      session,
      traits: {
        visibility: settings.glanceVisibility,
        properties: settings.glanceProperties,
        omitted: settings.glanceOmittedProperties,
        tags: settings.glanceTags,
        minimumDiskGiB: settings.glanceMinimumDiskGiB,
        minimumMemoryMiB: settings.glanceMinimumMemoryMiB,
        protected: settings.glanceProtected,
      },
      beside: objects,
      files: openFileObjects({ directory: settings.storeDirectory, readers: settings.storeReaders, log }),
      retry,
      log,
    }),
    swift: createSwiftStore(objects, session),
    isGone: async (imageId, options) => (await createGlance(session).get(imageId, options)) === null,
  };
}
