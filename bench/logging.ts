import type { Config } from '#lib/config/load.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import type { Log } from '#lib/log.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { createWorkerMetrics } from '#lib/metrics/worker.ts';
import type { Build } from '#lib/pipeline/attempt.ts';
import { openAttemptLog } from '#lib/pipeline/attempt-log.ts';
import type { BuildReporter } from '#lib/pipeline/reporter.ts';
import { openBroker } from '#lib/queue/broker.ts';
import type { Store } from '#lib/store/store.ts';
import { startReporter } from '#lib/worker/reporter.ts';

/** Logs and metrics of builds, as the worker has them. Events go nowhere. */

export const silent: BuildReporter = { begin() {}, progress() {}, notice() {}, log() {}, guest() {} };

interface LoggedBuild extends AsyncDisposable {
  readonly reporter: BuildReporter;
  /** Puts the log into the store. */
  keep(): Promise<void>;
}

export async function openLogging({ config, store, log }: { config: Config; store: Store; log: Log }) {
  const { folders, limits } = config;
  const broker = await openBroker({ ...config.broker, log });
  const measures = createWorkerMetrics(createMetrics('build-worker'));
  return {
    observer: { wanted: measures.cacheWanted, fetched: measures.fetched, stored: measures.stored },
    stepEnded: measures.stepEnded,
    async open({ buildId, request }: Build): Promise<LoggedBuild> {
      const { ticket_id: ticketId, progress_trigger, base_image: base } = request;
      const attempt = { buildId, attempt: 1, ticketId, series: base.series, caller: null, imageType: base.image_type };
      const attemptLog = await openAttemptLog(attempt, new AbortController().signal, {
        ...{ ...folders, ...limits, storeFor: () => store, secrets: config.log.secrets, log },
        live: broker.writeLog({ buildId, attempt: 1, maximumBytes: limits.maximumLogBytes }),
      });
      const identity = { build_id: buildId, ticket_id: ticketId, progress_trigger, attempt: 1, worker: 'bench' };
      const reporter = startReporter({
        ...{ identity, steps: imageKinds[base.image_type].steps, firstSequence: 1, heartbeatMs: 60_000 },
        publish: async () => true,
        onLine: (line, step) => attemptLog.add(line, step),
      });
      return {
        reporter,
        async keep() {
          if ((await attemptLog.keep()) === null) throw new Error('the log of a build was not kept');
        },
        async [Symbol.asyncDispose]() {
          await reporter[Symbol.asyncDispose]();
          await attemptLog[Symbol.asyncDispose]();
        },
      };
    },
  };
}
