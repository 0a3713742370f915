import { readdirSync } from 'node:fs';
import { converge } from '../converge.ts';
import { exists, remove } from '../files.ts';
import type { Hook } from '../hook.ts';
import { dataFolder, onMachine } from '../places.ts';
import { stopService } from '../service.ts';

const cacheFolder = `${dataFolder}/cache`;

/** The action `clean-cache`. The service stops meanwhile: builds read the caches at any time. */
export async function cleanCache(hook: Hook): Promise<void> {
  stopService();
  if (exists(cacheFolder)) for (const name of readdirSync(onMachine(cacheFolder))) remove(`${cacheFolder}/${name}`);
  await converge(hook);
}
