import type { Config } from '../config.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { createFileStore } from './file.ts';
import { createGlanceStore } from './glance.ts';
import type { OpenStackConfiguration } from './openstack/configuration.ts';
import { defaultRetry, type RetryPolicy } from './openstack/retry.ts';
import { createSession, type Session } from './openstack/session.ts';
import { createTransport } from './openstack/transport.ts';
import type { Store } from './store.ts';
import { createSwiftStore } from './swift.ts';

/** Which store an image goes to. */

export type StoreSettings = Pick<
  Config,
  | 'store'
  | 'storeDirectory'
  | 'storeReaders'
  | 'glanceVisibility'
  | 'glanceProperties'
  | 'swiftContainer'
  | 'swiftSegmentBytes'
  | 'swiftTemporaryUrlMs'
  | 'swiftTemporaryUrlKey'
  | 'connectTimeoutMs'
  | 'stallTimeoutMs'
>;

export interface StoreInputs {
  readonly settings: StoreSettings;
  /** Null where there is no OpenStack. */
  readonly openStack: OpenStackConfiguration | null;
  readonly userAgent: string;
  readonly log: Log;
  /** How long to put up with servers that are out of reach. Default: a minute. */
  readonly retry?: RetryPolicy;
}

/**
 * Gives the store for images of a type (`cloud`, and whatever else is built). Nothing is sent. Throws `config.invalid`
 * where OpenStack is asked for and there is none.
 */
export function chooseStores(inputs: StoreInputs): (imageType: string) => Store {
  const { settings, openStack } = inputs;
  if (settings.store === 'file' || (settings.store === 'auto' && openStack === null)) {
    const store = createFileStore(settings.storeDirectory, settings.storeReaders);
    return () => store;
  }
  if (openStack === null) {
    throw new ImageBuilderError(
      'config.invalid',
      `IMAGEBUILDER_STORE is ${settings.store}, but nothing says where OpenStack is: set OS_CLOUD or OS_AUTH_URL, or the secret openstack-clouds`,
    );
  }
  const { glance, swift } = createOpenStackStores({ ...inputs, openStack });
  if (settings.store === 'glance') return () => glance;
  if (settings.store === 'swift') return () => swift;
  return (imageType) => (imageType === 'cloud' ? glance : swift);
}

/** Both stores of one OpenStack, and the session that they share. */
export function createOpenStackStores({
  settings,
  openStack,
  userAgent,
  log,
  retry = defaultRetry,
}: StoreInputs & { readonly openStack: OpenStackConfiguration }): { session: Session; glance: Store; swift: Store } {
  const transport = createTransport({
    certificateAuthority: openStack.certificateAuthority,
    connectTimeoutMs: settings.connectTimeoutMs,
    stallTimeoutMs: settings.stallTimeoutMs,
    userAgent,
  });
  const session = createSession({ configuration: openStack, transport, retry });
  const key = settings.swiftTemporaryUrlKey;
  return {
    session,
    glance: createGlanceStore({
      session,
      visibility: settings.glanceVisibility,
      properties: settings.glanceProperties,
      retry,
      log,
    }),
    swift: createSwiftStore({
      session,
      container: settings.swiftContainer,
      segmentBytes: settings.swiftSegmentBytes,
      temporaryUrl: key === null ? null : { key, lifetimeMs: settings.swiftTemporaryUrlMs },
      retry,
      log,
    }),
  };
}
