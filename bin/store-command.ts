import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { checkStores } from '#lib/store/check.ts';
import { impatientRetry } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { version } from '#lib/version.ts';

/**
 * Prints line by line whether finished images will find their way. Resolves with the exit code: 0, or 1 for a fault.
 */
export async function checkStore(options: { readonly json?: boolean }): Promise<number> {
  const config = loadConfig();
  const openStack = await readOpenStackConfiguration({ environment: process.env, ...config.openStack });
  const log = createLog({ level: 'error', secrets: [...config.log.secrets, ...(openStack?.secrets ?? [])] });
  const settings = { ...config.folders, ...config.store, ...config.http };
  const inputs = { settings, openStack, userAgent: `imagebuilder/${version}`, log, retry: impatientRetry };
  let ok = true;
  for await (const finding of checkStores(inputs)) {
    ok &&= finding.ok;
    const line = `${finding.ok ? 'ok  ' : 'FAIL'}  ${finding.what}: ${finding.detail}`;
    process.stdout.write(`${options.json ? JSON.stringify(finding) : line}\n`);
  }
  return ok ? 0 : 1;
}
