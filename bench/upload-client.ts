import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import type { Artifacts, Origin } from '#lib/store/artifact.ts';
import { createOpenStackStores } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';

/**
 * Uploads one file to Glance with the worker's own store, in a process of its own, to measure its memory. Writes JSON
 * to stdout.
 */

const [artifacts, origin] = JSON.parse(process.argv[2] ?? '') as [Artifacts, Origin];
const openStack = await readOpenStackConfiguration({
  environment: process.env,
  clouds: null,
  password: null,
  applicationCredentialSecret: null,
});
if (openStack === null) throw new Error('no OpenStack in the environment');
const { folders, http, store } = loadConfig({});
const { glance } = createOpenStackStores({
  settings: { ...folders, ...store, ...http },
  openStack,
  userAgent: 'imagebuilder-bench',
  log: createLog(),
});
// A warm worker already has a token of Keystone.
const signal = new AbortController().signal;
await glance.find(origin.buildId, { signal });
const started = performance.now();
const [{ id }] = await glance.put(artifacts, origin, { signal, onProgress: () => {} });
const seconds = (performance.now() - started) / 1000;
// In KiB (getrusage).
process.stdout.write(JSON.stringify({ id, seconds, peakBytes: process.resourceUsage().maxRSS * 1024 }));
