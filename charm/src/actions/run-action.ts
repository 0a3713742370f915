import { converge } from '../converge.ts';
import { remove, writeText } from '../files.ts';
import type { Hook } from '../hook.ts';
import { actionParameters } from '../hook-tools.ts';
import { pausePath } from '../places.ts';
import { build } from './build.ts';
import { doctor, storeCheck } from './checks.ts';
import { cleanCache } from './clean-cache.ts';
import { cancel, showStatus } from './service-calls.ts';

export type Parameters = Readonly<Record<string, unknown>>;

/** The actions of charmcraft.yaml. Each throws where it fails. */
const actions: Readonly<Record<string, (hook: Hook, parameters: Parameters) => Promise<void> | void>> = {
  status: showStatus,
  build,
  cancel,
  doctor,
  'store-check': storeCheck,
  'clean-cache': cleanCache,
  pause: async (hook) => {
    writeText(pausePath, '', 0o600);
    await converge(hook);
  },
  resume: async (hook) => {
    remove(pausePath);
    await converge(hook);
  },
};

export async function runAction(hook: Hook): Promise<void> {
  const action = actions[hook.name];
  if (action === undefined) throw new Error(`the charm has no action ${hook.name}`);
  await action(hook, actionParameters());
}
