import { loadConfig } from '#lib/config/load.ts';
import type { RetryPolicy } from '#lib/http/retrying.ts';
import { createLog } from '#lib/log.ts';
import type { StoreInputs } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';

/** Retries as the product does, with shorter waits. */
export const quickRetry: RetryPolicy = { delayMs: 200, maximumDelayMs: 2_000, patienceMs: 60_000 };

export type Environment = Readonly<Record<string, string | undefined>>;

/** The inputs of stores as a worker has them with these variables. Without redaction, so that a secret would be seen. */
export async function storeInputs(environment: Environment, lines: string[] = []): Promise<StoreInputs> {
  const openStack = await readOpenStackConfiguration({
    environment,
    ...{ clouds: null, password: null, applicationCredentialSecret: null },
  });
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  const { folders, http, store } = loadConfig(environment);
  return {
    settings: { ...folders, ...http, ...store },
    openStack,
    userAgent: 'imagebuilder-test',
    log,
    retry: quickRetry,
  };
}
