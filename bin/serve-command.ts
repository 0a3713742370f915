import { requireCaller } from '#lib/api/respond.ts';
import { whenAborted } from '#lib/async.ts';
import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createEgress } from '#lib/http/egress.ts';
import { createLog } from '#lib/log.ts';
import { describeLogLine } from '#lib/log-line.ts';
import { startServe } from '#lib/serve/serve.ts';
import { requireAbility, watchBrokerOf, workerSettings } from './serve-ability.ts';

export interface ServeCommandOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly stack: string;
  readonly allowedHost: readonly string[];
  /** Seconds. */
  readonly grace: number;
}

const openToAll =
  'no token is set, and this is root: whoever reaches this address can have root download, build and store images, and see and cancel the builds of all others; put a token into the file imagebuilder-token of IMAGEBUILDER_SECRETS_DIRECTORY, or serve as another user';

/** Said on a terminal whatever the least severity of the log is. */
const stops = (graceSeconds: number) =>
  `\rStopping: no new calls are taken. Calls in work have ${graceSeconds} s to end; a running build is handed back, and starts again with the next worker. Ctrl-C again kills all at once.`;
const stopsAtOnce =
  '\rStopping at once: the functions are killed. A build that ran starts again with the next worker, a minute or more later.';

/** Serves until SIGTERM or SIGINT. Resolves with the exit code: 0, or 1 when a second signal forced the end. */
export async function serve(options: ServeCommandOptions): Promise<number> {
  // The functions read it again; reporting faults in it now is better than at the first call.
  const config = loadConfig();
  const onTerminal = process.stderr.isTTY;
  const write = (text: string) => void process.stderr.write(`${text}\n`);
  const writeReadable = (line: string, writer?: string) => write(describeLogLine(line.trimEnd(), writer));
  const log = createLog({
    ...config.log,
    fields: { function: 'gateway' },
    ...(onTerminal ? { write: writeReadable } : {}),
  });
  const callers = createCallers(config.callers);
  const worker = await workerSettings(options.stack);
  if (worker !== null) await requireAbility(worker, log);
  const stop = new AbortController();
  const force = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) force.abort();
    else stop.abort();
    const atOnce = force.signal.aborted;
    if (onTerminal) write(atOnce ? stopsAtOnce : stops(options.grace));
    else
      log.info(atOnce ? 'stopping at once' : 'stopping', {
        signal,
        ...(atOnce ? {} : { grace_seconds: options.grace }),
      });
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  await using broker = worker === null ? null : await watchBrokerOf(worker.config, log);
  try {
    const running = await startServe({
      stackFile: options.stack,
      templateDirectory: `${import.meta.dirname}/../template`,
      host: options.listen.host,
      port: options.listen.port,
      publicUrl: config.api.publicUrl,
      allowedHosts: options.allowedHost,
      environment: process.env,
      egress: createEgress(config.egress),
      http: config.http,
      authorize: (authorization) => requireCaller(callers, authorization),
      hindrance: () => (broker?.reachable() === false ? 'RabbitMQ cannot be used' : null),
      log,
      ...(onTerminal ? { onLine: writeReadable } : {}),
      signal: stop.signal,
    });
    process.stdout.write(
      `Image Builder listens on ${running.url} with the functions ${running.functions.join(', ')}\n`,
    );
    if (config.callers.token === null && process.geteuid?.() === 0) log.warn(openToAll, { url: running.url });
    await whenAborted(stop.signal);
    const graceOver = AbortSignal.timeout(options.grace * 1000);
    await running.stop(AbortSignal.any([force.signal, graceOver]));
    log.info('stopped');
  } catch (error) {
    // A start that a signal broke off has ended as it should.
    if (!stop.signal.aborted) throw error;
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
  return force.signal.aborted ? 1 : 0;
}
