import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { type Broker, openBroker } from '#lib/queue/broker.ts';
import { chooseStores, impatientRetry } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { openStoredBuilds } from '#lib/store/stored-builds.ts';
import { version } from '#lib/version.ts';
import type { ImagesDependencies } from './images.ts';

/** Builds everything the function needs, from the environment. */
export async function compose(): Promise<ImagesDependencies & { readonly broker: Broker } & AsyncDisposable> {
  const config = loadConfig(process.env, 'images');
  const openStack = await readOpenStackConfiguration({ environment: process.env, ...config.openStack });
  const secrets = [...config.log.secrets, ...(openStack?.secrets ?? [])];
  const log = createLog({ ...config.log, fields: { function: 'images' }, secrets });
  const settings = { ...config.folders, ...config.store, ...config.http };
  const { stores, session } = chooseStores({
    settings,
    openStack,
    userAgent: `imagebuilder/${version}`,
    log,
    retry: impatientRetry,
  });
  const broker = await openBroker({ ...config.broker, name: 'imagebuilder images', log });
  return {
    ...{ broker, ledger: broker.ledger },
    log,
    callers: createCallers(config.callers),
    stored: openStoredBuilds(stores),
    session,
    storeDirectory: config.folders.storeDirectory,
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}
