import { hostname } from 'node:os';
import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createGuestLook, findGuestHindrances } from '#lib/doctor/guest-hindrances.ts';
import { adviceOf, cannotBuild, findHindrances } from '#lib/doctor/hindrances.ts';
import { openPrivateFolder } from '#lib/folders/private-folder.ts';
import { foldersOfBuilds } from '#lib/folders/settings.ts';
import type { ChosenGuest } from '#lib/guest/choose.ts';
import { createLog } from '#lib/log.ts';
import { showBroker } from '#lib/metrics/broker.ts';
import type { MeasuredOptions } from '#lib/metrics/calls.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { createWorkerMetrics } from '#lib/metrics/worker.ts';
import { openAttemptLog } from '#lib/pipeline/attempt-log.ts';
import { openBuildTools } from '#lib/pipeline/open-tools.ts';
import { reclaimIn } from '#lib/pipeline/reclaim.ts';
import { runBuild } from '#lib/pipeline/run-build.ts';
import { openBroker, reviveEveryMs } from '#lib/queue/broker.ts';
import { chooseStores } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { openTracer } from '#lib/trace/tracer.ts';
import { whyToolsStayRoot } from '#lib/unprivileged.ts';
import { version } from '#lib/version.ts';
import { openAbility } from '#lib/worker/ability.ts';
import { createDeliveries } from '#lib/worker/deliveries.ts';
import { createOthers } from '#lib/worker/others.ts';
import { createWake } from '#lib/worker/wake.ts';
import { createWorker } from '#lib/worker/worker.ts';
import { takeWorkerName } from '#lib/worker/worker-name.ts';

import type { BuildWorkerDependencies } from './build-worker.ts';
import { openFileRetention } from './file-retention.ts';
import { showMachine } from './machine-metrics.ts';

/** Largest answer of a cancel URL that is read; a proper answer has twenty bytes. */
const cancelAnswerBytes = 64 * 1024;

/** Memory for finished builds: a worker shows none, and needs those whose callers have not been notified yet. */
const historyBytes = 1024 * 1024;

/** Builds everything the function needs, from the environment, and removes what dead workers left on this machine. */
export async function compose(): Promise<
  BuildWorkerDependencies & Pick<MeasuredOptions, 'metrics' | 'callers'> & AsyncDisposable
> {
  const config = loadConfig(process.env, 'build-worker');
  const { egress, folders, guest, http, image, limits, packages, provenance, tools, verification } = config;
  const { callbackSigningKey, ...workerSettings } = config.worker;
  await using opened = new AsyncDisposableStack();
  const { name } = opened.use(await takeWorkerName(workerSettings.workerName || hostname()));
  const openStack = await readOpenStackConfiguration({ environment: process.env, ...config.openStack });
  const secrets = [...config.log.secrets, ...(openStack?.secrets ?? [])];
  const log = createLog({ ...config.log, fields: { function: 'build-worker', worker: name }, secrets });
  // Closed last: attempts record their ends until then.
  const tracer = opened.use(
    await openTracer({ ...config.tracing, service: 'imagebuilder-build-worker', secrets, log }),
  );
  const reason = await whyToolsStayRoot(tools.unprivilegedIds, folders.workDirectory);
  if (reason !== null) log.warn('tools that read what strangers have made run as root', { reason });
  const userAgent = `imagebuilder/${version}`;
  const storeSettings = { ...folders, ...config.store, ...http };
  const metrics = createMetrics('build-worker');
  const measures = createWorkerMetrics(metrics);
  const { stores, for: storeFor, isGone } = chooseStores({ settings: storeSettings, openStack, userAgent, log });
  const fileStore = stores.some(({ directory }) => directory !== null);
  const reclaim = reclaimIn(folders, log);
  const look = () => findHindrances({ ...folders, ...limits }, { fileStore, ...reclaim });
  const hindrances = [...(await look()), ...(await findGuestHindrances(guest))];
  if (hindrances.length > 0) throw cannotBuild(hindrances);
  const folderList = foldersOfBuilds(folders, { fileStore });
  for (const folder of folderList) await openPrivateFolder(folder, { log });
  await reclaim.sweep();
  const settings = { egress, folders, guest, http, image, limits, packages, provenance, tools, verification };
  const observer = { wanted: measures.cacheWanted, fetched: measures.fetched, stored: measures.stored };
  const buildTools = opened.use(await openBuildTools({ settings, storeFor, observer, userAgent, log }));
  const { client } = buildTools;
  const broker = opened.use(
    await openBroker({
      ...{ ...config.broker, historyBytes, reviveEveryMs },
      ...{ name: `imagebuilder build-worker ${name}`, log },
    }),
  );
  let chosen: ChosenGuest | null = null;
  const chooseGuest = async () => {
    chosen = await buildTools.chooseGuest();
    return chosen;
  };
  showBroker(metrics, broker);
  showMachine(metrics, folderList, () => chosen);
  const lookAtGuest = createGuestLook({ settings: guest, chooseGuest });
  const findHindrance = async () => {
    const lacking = await broker.jobs.lacking();
    const found = [
      ...(await look()),
      ...(await lookAtGuest()),
      ...(lacking === null ? [] : [{ what: 'RabbitMQ', ok: false, detail: lacking }]),
    ];
    const reason = found.map(({ what, detail }) => `${what}: ${detail}`).join('; ');
    return found.length === 0 ? null : { reason, advice: adviceOf(found) };
  };
  const ability = opened.use(openAbility({ name, broker, findHindrance, log }));
  const wake = opened.use(createWake({ ...config.wake, log }));
  const deliveries = opened.use(
    createDeliveries({
      post: async (url, body, headers, { signal }) => (await client.postJson(url, body, { headers, signal })).status,
      signingKey: callbackSigningKey,
      timeoutMs: workerSettings.callbackTimeoutMs,
      settled: (buildId) => broker.recordNotified(buildId, 'callback'),
      log,
    }),
  );
  const retention = opened.use(openFileRetention({ ...storeSettings, isGone, ledger: broker.ledger, log }));
  const worker = createWorker({
    name,
    broker,
    runBuild: async (build, context) => {
      // Sweeps leftovers of a worker that has died beside this one, maybe in this very build.
      await reclaim.sweep();
      return await runBuild(
        build,
        { ...buildTools, chooseGuest },
        {
          ...context,
          onStepEnd(ended) {
            measures.stepEnded(ended);
            context.onStepEnd?.(ended);
          },
        },
      );
    },
    getJson: (url, { signal }) => client.getJson(url, { signal, maximumBytes: cancelAnswerBytes, attempts: 1 }),
    deliveries,
    tracer,
    onEnd(...end) {
      measures.buildEnded(...end);
      retention.apply();
    },
    onLoss: measures.attemptLost,
    discard: (buildId, imageType) => storeFor(imageType).discard(buildId),
    openLog: (build, stopping) =>
      openAttemptLog(build, stopping, {
        ...folders,
        ...limits,
        storeFor,
        secrets,
        live: broker.writeLog({ ...build, maximumBytes: limits.maximumLogBytes }),
        log: log.with({ build_id: build.buildId }),
      }),
    wake: wake.send,
    able: ability.look,
    // A late answer holds the place for asynchronous calls, where more wakes would only wait.
    others: wake.early ? createOthers({ depth: broker.jobs.depth, wake: wake.send, log }) : undefined,
    settings: { ...workerSettings, leaseMs: config.broker.leaseMs },
    log,
  });
  const kept = opened.move();
  return {
    ...{ worker, metrics, callers: createCallers(config.callers) },
    passOn: wake.passOn,
    log,
    execTimeoutMs: workerSettings.execTimeoutMs,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
