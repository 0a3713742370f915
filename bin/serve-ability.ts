import { basename } from 'node:path';
import { type Config, loadConfig } from '#lib/config/load.ts';
import { findGuestHindrances } from '#lib/doctor/guest-hindrances.ts';
import { cannotBuild, findHindrances } from '#lib/doctor/hindrances.ts';
import type { Log } from '#lib/log.ts';
import { reclaimIn } from '#lib/pipeline/reclaim.ts';
import { type BrokerWatch, watchBroker } from '#lib/queue/watch-broker.ts';
import { readStack } from '#lib/serve/stack.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';

/** The look of `serve` at what its worker needs: folders and the guest at the start, RabbitMQ all the time. */

/** The folder of our own worker's handler. */
const workerFolder = 'build-worker';

/** The settings of the stack's worker; null for a stack without one, which needs neither. Throws `config.invalid`. */
export async function workerSettings(stackFile: string): Promise<{
  readonly config: Config;
  readonly environment: Readonly<Record<string, string>>;
} | null> {
  const { functions } = await readStack(stackFile, process.env);
  const worker = functions.find(({ handlerDirectory }) => basename(handlerDirectory) === workerFolder);
  if (worker === undefined) return null;
  return { config: loadConfig(worker.environment), environment: worker.environment };
}

/** Throws `config.invalid`, in the doctor's words, where builds cannot use their folders, or cannot open images. */
export async function requireAbility(
  { config, environment }: NonNullable<Awaited<ReturnType<typeof workerSettings>>>,
  log: Log,
): Promise<void> {
  const { folders, guest, limits, store } = config;
  const openStack = await readOpenStackConfiguration({ environment, ...config.openStack });
  const options = { fileStore: openStack === null || store.store === 'file', ...reclaimIn(folders, log) };
  const hindrances = [
    ...(await findHindrances({ ...folders, ...limits }, options)),
    ...(await findGuestHindrances(guest)),
  ];
  if (hindrances.length > 0) throw cannotBuild(hindrances);
}

/** Says in the log that RabbitMQ is away, until disposed. */
export async function watchBrokerOf({ broker }: Config, log: Log): Promise<BrokerWatch> {
  return await watchBroker({
    amqpUrl: broker.amqpUrl,
    certificates: broker.certificates,
    name: 'imagebuilder serve',
    retention: { seconds: broker.eventRetentionSeconds, bytes: broker.eventRetentionBytes },
    log,
  });
}
