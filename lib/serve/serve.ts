import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onAbort, orAborted } from '../async.ts';
import type { HttpSettings } from '../config/http.ts';
import { ImageBuilderError, isNodeError } from '../errors.ts';
import type { Egress } from '../http/egress.ts';
import type { Log } from '../log.ts';
import { type AsyncQueue, createAsyncQueue } from './async-queue.ts';
import { createCallbacks } from './callbacks.ts';
import { startFunctionProcess } from './function-process.ts';
import { createGateway } from './gateway.ts';
import { createHostCheck } from './hosts.ts';
import { createRuntimeDirectory } from './runtime-directory.ts';
import { type Clock, runSchedule, type ScheduleEntry, systemClock } from './schedule.ts';
import type { ServedFunction } from './served-function.ts';
import { createSlots } from './slots.ts';
import { readStack, type Stack, type StackFunction } from './stack.ts';
import { emptyCall, listenForWakes } from './wakes.ts';

/** The gateway of one machine: the functions of a stack.yml as child processes, behind OpenFaaS's URLs. */

export interface ServeOptions {
  readonly stackFile: string;
  /** Folder with the templates: `NAME/index.ts` for the `lang: NAME` of a function. */
  readonly templateDirectory: string;
  /** Address to listen on; port 0 takes a free one. */
  readonly host: string;
  readonly port: number;
  /** Address for callers outside; may be empty. */
  readonly publicUrl: string;
  /** Host names that callers may use beside addresses, localhost, the name of the machine and those above. */
  readonly allowedHosts: readonly string[];
  /** The operator's environment: substituted into stack.yml, and over the functions' own environment. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Rules for the callback URLs of asynchronous calls. */
  readonly egress: Egress;
  /** The way of callbacks. */
  readonly http: Pick<HttpSettings, 'proxies' | 'trust'>;
  /** Throws `request.unauthorized` unless a caller with this Authorization header may call functions. */
  readonly authorize: (authorization: string | undefined) => void;
  /** The reason why functions that run cannot do their work, for `/healthz`; null: none. Default: none. */
  readonly hindrance?: () => string | null;
  /** Gets each line that a function writes to standard error. Without it, they go to this process's own. */
  readonly onLine?: ((line: string, functionName: string) => void) | undefined;
  readonly log: Log;
  /** Aborting it ends a start that is still under way. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
}

export interface Serve {
  /** Address of the gateway on this machine, without a slash at the end. */
  readonly url: string;
  readonly functions: readonly string[];
  /**
   * Takes no more calls, sends the functions SIGTERM, and resolves when they and the calls in flight have ended. When
   * `force` aborts, the rest is killed.
   */
  stop(force: AbortSignal): Promise<void>;
}

/**
 * Starts all functions and resolves when every one of them listens. Throws `config.invalid` for faults of stack.yml, an
 * address that cannot be listened on or a folder for temporary files that cannot be used, and `function.unavailable`
 * when a function ends before it listens; nothing is left running then.
 */
export async function startServe(options: ServeOptions): Promise<Serve> {
  const { log, onLine, egress, http, authorize, clock = systemClock, environment } = options;
  const stack = await readStack(options.stackFile, environment);
  const programs = findPrograms(stack, options.templateDirectory);
  const stopping = new AbortController();
  const forced = new AbortController();
  const functions = new Map<string, ServedFunction>();
  const queues = new Map<string, AsyncQueue>();
  const checkHost = createHostCheck({ listenHost: options.host, ...options });
  const callbacks = createCallbacks({ egress, http, log, force: forced.signal });
  const bodies = stack.functions.map((definition) => definition.body);
  const largestBody = {
    bytes: Math.max(...bodies.map(({ maximumBytes }) => maximumBytes)),
    ms: Math.max(...bodies.map(({ totalMs }) => totalMs)),
  };
  const server = createGateway({
    functions,
    queues,
    checkHost,
    authorize,
    hindrance: options.hindrance ?? (() => null),
    log,
    stopping: stopping.signal,
    largestBody,
  });
  const runtime = await createRuntimeDirectory();
  const wakes = await listenForWakes(runtime.wakeSocket, queues, log);
  const url = await listen(server, options.host, options.port).catch(async (error: unknown) => {
    wakes.close();
    await runtime[Symbol.asyncDispose]();
    throw error;
  });
  for (const { definition, entryPoint, handler } of programs) {
    const functionLog = log.with({ function: definition.name });
    const process = startFunctionProcess({
      name: definition.name,
      entryPoint,
      handler,
      workingDirectory: stack.directory,
      environment: functionEnvironment(definition, url, runtime.wakeSocket),
      runtimeDirectory: runtime.path,
      onLine: onLine && ((line) => onLine(line, definition.name)),
      log: functionLog,
    });
    const served: ServedFunction = { definition, process, slots: createSlots(definition.maximumInflight), calls: 0 };
    functions.set(definition.name, served);
    queues.set(definition.name, createAsyncQueue(served, { callbacks, log: functionLog, force: forced.signal }));
  }

  let stopped: Promise<void> | undefined;
  const stop = (force: AbortSignal): Promise<void> => {
    const forward = () => forced.abort(new ImageBuilderError('worker.stopping', 'the gateway was forced to stop'));
    onAbort(force, forward);
    stopped ??= stopAll();
    return stopped;
  };
  const stopAll = async () => {
    stopping.abort();
    const closed = once(server, 'close');
    server.close();
    onAbort(forced.signal, () => server.closeAllConnections());
    const [dropped] = await Promise.all([
      Promise.all([...queues.values()].map((queue) => queue.stop())),
      ...[...functions.values()].map(({ process }) => process.stop(forced.signal)),
    ]);
    await callbacks.stop();
    const lost = dropped.reduce((sum, count) => sum + count, 0);
    if (lost > 0) log.warn('asynchronous calls dropped', { calls: lost });
    // Connections that were busy when the server was closed stay open for callers to use again.
    const sweep = setInterval(() => server.closeIdleConnections(), 20);
    await closed;
    clearInterval(sweep);
    // After the functions, which may wake a worker at the very end.
    wakes.close();
    wakes.closeAllConnections();
    await runtime[Symbol.asyncDispose]();
  };

  try {
    const started = Promise.all([...functions.values()].map(({ process }) => process.started));
    await (options.signal === undefined ? started : orAborted(started, options.signal));
  } catch (error) {
    await stop(AbortSignal.abort());
    throw error;
  }
  void runSchedule(scheduleOf(functions, queues, log), clock, stopping.signal);
  return { url, functions: [...functions.keys()], stop };
}

/** Finds the files of every function, or throws `config.invalid` naming the missing ones. */
function findPrograms(stack: Stack, templateDirectory: string) {
  const programs = stack.functions.map((definition) => ({
    definition,
    entryPoint: join(templateDirectory, definition.language, 'index.ts'),
    handler: join(definition.handlerDirectory, 'handler.ts'),
  }));
  const missing = programs
    .flatMap(({ entryPoint, handler }) => [entryPoint, handler])
    .filter((file) => !existsSync(file));
  if (missing.length === 0) return programs;
  throw new ImageBuilderError(
    'config.invalid',
    `the stack names functions whose files are not there: ${[...new Set(missing)].join(', ')}`,
  );
}

/** The stack's environment, overlaid by the operator's, and both by the variables that only the gateway knows. */
function functionEnvironment(definition: StackFunction, url: string, wakeSocket: string): Record<string, string> {
  const { PORT: _port, ...environment } = definition.environment;
  return {
    ...environment,
    OPENFAAS_NAME: definition.name,
    IMAGEBUILDER_GATEWAY_URL: url,
    IMAGEBUILDER_WAKE_SOCKET: wakeSocket,
  };
}

async function listen(server: Server, host: string, port: number): Promise<string> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const reason =
      isNodeError(error) && error.code === 'EADDRINUSE'
        ? 'another program listens there; stop it, or choose another address with --listen'
        : (error as Error).message;
    throw new ImageBuilderError('config.invalid', `cannot listen on ${host} port ${port}: ${reason}`, { cause: error });
  }
  const address = server.address() as AddressInfo;
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[address.address] ?? address.address;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${address.port}`;
}

/** A tick whose predecessor still waits in the queue is dropped, so that ticks do not pile up behind a long call. */
function scheduleOf(
  functions: ReadonlyMap<string, ServedFunction>,
  queues: ReadonlyMap<string, AsyncQueue>,
  log: Log,
): ScheduleEntry[] {
  const entries: ScheduleEntry[] = [];
  for (const { definition } of functions.values()) {
    const { name, schedule } = definition;
    const queue = queues.get(name);
    if (schedule === undefined || queue === undefined) continue;
    let last = '';
    const fire = () => {
      if (queue.isWaiting(last)) return;
      last = randomUUID();
      const headers = ['X-Call-Id', last, 'X-Connector', 'cron-connector', 'X-Topic', 'cron-function'];
      try {
        queue.add(emptyCall(last, headers));
      } catch (error) {
        log.warn('scheduled call left out', { function: name, error });
      }
    };
    entries.push({ schedule, fire });
  }
  return entries;
}
