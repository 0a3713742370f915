import { hostname } from 'node:os';
import { loadConfig } from '#lib/config.ts';
import { openPrivateFolder } from '#lib/folders/private-folder.ts';
import { foldersOfBuilds } from '#lib/folders/settings.ts';
import { sweepGuest } from '#lib/guest/sweep.ts';
import { createLog } from '#lib/log.ts';
import { openBuildTools } from '#lib/pipeline/open-tools.ts';
import { runBuild } from '#lib/pipeline/run-build.ts';
import { sweepWorkDirectories } from '#lib/pipeline/work-directory.ts';
import { openBroker } from '#lib/queue/broker.ts';
import { chooseStores } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { whyToolsStayRoot } from '#lib/unprivileged.ts';
import { version } from '#lib/version.ts';
import { createDeliveries } from '#lib/worker/deliveries.ts';
import { createWake } from '#lib/worker/wake.ts';
import { createWorker } from '#lib/worker/worker.ts';

import type { BuildWorkerDependencies } from './build-worker.ts';

/** Largest answer of a cancel URL that is read; a proper answer has twenty bytes. */
const cancelAnswerBytes = 64 * 1024;

/** Builds everything the function needs, from the environment, and removes what dead workers left on this machine. */
export async function compose(): Promise<BuildWorkerDependencies & AsyncDisposable> {
  const config = loadConfig();
  const name = `${config.workerName || hostname()}-${process.pid}`;
  const openStack = await readOpenStackConfiguration({
    environment: process.env,
    clouds: config.openstackClouds,
    password: config.openstackPassword,
    applicationCredentialSecret: config.openstackApplicationCredentialSecret,
  });
  const log = createLog({
    level: config.logLevel,
    fields: { function: 'build-worker', worker: name },
    secrets: [...config.secrets, ...(openStack?.secrets ?? [])],
  });
  const reason = await whyToolsStayRoot(config.unprivilegedIds, config.workDirectory);
  if (reason !== null) log.warn('tools that read what strangers have made run as root', { reason });
  const userAgent = `imagebuilder/${version}`;
  await using opened = new AsyncDisposableStack();
  const store = chooseStores({ settings: config, openStack, userAgent, log }).for('cloud');
  const folders = foldersOfBuilds(config, { fileStore: store.kind === 'file' });
  for (const folder of folders) await openPrivateFolder(folder, { log });
  const sweep = () =>
    sweepWorkDirectories(config.workDirectory, { beforeRemoval: (path) => sweepGuest(path, { log }), log });
  await sweep();
  const tools = opened.use(await openBuildTools({ settings: config, store, userAgent, log }));
  const { client } = tools;
  const broker = opened.use(await openBroker({ ...config, name: `imagebuilder build-worker ${name}`, log }));
  const wake = opened.use(createWake({ ...config, log }));
  const deliveries = opened.use(
    createDeliveries({
      post: async (url, body, headers, { signal }) => (await client.postJson(url, body, { headers, signal })).status,
      signingKey: config.callbackSigningKey,
      timeoutMs: config.callbackTimeoutMs,
      settled: (buildId) => broker.recordNotified(buildId, 'callback'),
      log,
    }),
  );
  const worker = createWorker({
    name,
    broker,
    runBuild: async (build, context) => {
      // Sweeps leftovers of a worker that has died beside this one, maybe in this very build.
      await sweep();
      return await runBuild(build, tools, context);
    },
    getJson: (url, { signal }) => client.getJson(url, { signal, maximumBytes: cancelAnswerBytes, attempts: 1 }),
    deliveries,
    discard: (buildId) => store.discard(buildId),
    wake: wake.send,
    settings: config,
    log,
  });
  const kept = opened.move();
  return { worker, log, execTimeoutMs: config.execTimeoutMs, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
