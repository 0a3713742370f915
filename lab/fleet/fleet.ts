import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { type BuildEvent, isTerminal } from '#lib/api/event.ts';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { createLog } from '#lib/log.ts';
import { type Broker, openBroker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import { queues } from '#lib/queue/topology.ts';
import { type BaseImage, makeBaseImage } from '../images/base-image.ts';
import { baseImageCache } from '../images/cache.ts';
import { requestsFor } from '../request.ts';
import { call, type FunctionProcess, startFunction } from '../servers/function.ts';
import { type ImageServer, startImageServer } from '../servers/image-server.ts';
import { type Launchpad, type PackageRecipe, startLaunchpad } from '../servers/launchpad.ts';
import { listen } from '../servers/listen.ts';
import { type RabbitMq, startRabbitMq } from '../servers/rabbitmq.ts';
import { type Gate, startGate } from './gate.ts';
import { type Mailbox, openMailbox } from './mailbox.ts';
import { processesIn } from './processes.ts';

/** The facts that a fleet needs about the base image of its requests. */
export interface FleetBase extends Pick<BaseImage, 'path' | 'sizeBytes' | 'codename'> {
  /** Default: cloud. */
  readonly imageType?: 'cloud' | 'cd' | 'touch';
}

/**
 * The service as it runs in a cluster, for tests that take parts of it away: one RabbitMQ, the functions as processes
 * of their own, any number of workers, and the gateway's wakes. Leases and heartbeats are short. The packages `slow`
 * and `libfoo` are in `ppa:project/ppaname`; `slow` waits at the gate while it is installed.
 */
export interface Fleet extends AsyncDisposable {
  readonly rabbitMq: RabbitMq;
  readonly launchpad: Launchpad;
  readonly gate: Gate;
  readonly images: ImageServer;
  readonly mailbox: Mailbox;
  readonly base: FleetBase;
  /** A reader of the same RabbitMQ. */
  readonly broker: Broker;
  readonly directory: string;
  readonly workDirectory: string;
  readonly storeDirectory: string;
  /** The environment of every function. */
  readonly settings: Readonly<Record<string, string>>;
  /** A valid request; every call has a new ticket. */
  request(changes?: Partial<BuildRequestInput>): BuildRequestInput;
  /** POSTs a request to `build-image`. */
  submit(request: BuildRequestInput, headers?: Readonly<Record<string, string>>): Promise<Submitted>;
  /** DELETEs a build. Resolves with the status of the answer. */
  cancel(buildId: string): Promise<number>;
  startWorker(name: string, settings?: Readonly<Record<string, string>>): Promise<FunctionProcess>;
  /** Kills every worker. */
  killWorkers(): Promise<void>;
  /** The workers that run, in the order in which they were started. */
  workers(): FunctionProcess[];
  /** Kills `build-image` and starts it again. */
  restartBuildImage(): Promise<void>;
  /** Every process of a function that was ever started, with what it has logged. */
  readonly functions: readonly FunctionProcess[];
  /** The worker with this name in events. */
  workerNamed(name: string): FunctionProcess;
  /** Wakes every worker, as the gateway does for a submission, and the timer at intervals. */
  wake(): void;
  /** Whether a timer wakes the workers four times a second; on at first. */
  timer(on: boolean): void;
  /** The build, once `wanted` accepts it. */
  when(buildId: string, wanted: (build: BuildView) => boolean): Promise<BuildView>;
  ended(buildId: string): Promise<BuildView>;
  /**
   * The events of a build that its caller has received, once the end is among them: they arrive later than those of the
   * stream.
   */
  notifications(buildId: string): Promise<BuildEvent[]>;
  /** Ids of the builds whose jobs are buried; empties the queue. */
  buriedBuilds(): Promise<string[]>;
  /** Processes of the running RabbitMQ: after a restart they are others. */
  brokerProcesses(): Promise<number[]>;
  /** Names in the work and store folders that no build may leave behind. */
  leftFiles(): Promise<string[]>;
}

export interface Submitted {
  readonly status: number;
  /** Empty where the answer has none. */
  readonly buildId: string;
  readonly retryAfter: string | undefined;
  /** The whole answer: its headers and body. */
  readonly text: string;
}

export const leaseSeconds = 4;
const heartbeatSeconds = 1;
const exchange = 'testbuild-1-imagebuilder';
const patienceMs = 120_000;

export type FleetSettings = Readonly<Record<string, string>>;

export interface FleetOptions {
  /** Packages of the PPA beside `libfoo` and `slow`. */
  readonly packages?: (gate: Gate) => readonly PackageRecipe[];
  /** More settings of every function, which may depend on RabbitMQ; they win over the fleet's own. */
  readonly settings?: FleetSettings | ((rabbitMq: RabbitMq) => Promise<FleetSettings>);
  /** Default: a whole cloud image. */
  readonly base?: FleetBase;
}

export async function startFleet(options: FleetOptions = {}): Promise<Fleet> {
  await using services = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-fleet-'));
  // The mode of /var/lib: tools that run as other users reach the work directory.
  await chmod(directory, 0o711);
  services.defer(() => rm(directory, { recursive: true, force: true }));
  // On another file system than the work folder, so that an upload copies and can be interrupted.
  const storeDirectory = await mkdtemp('/dev/shm/imagebuilder-fleet-');
  services.defer(() => rm(storeDirectory, { recursive: true, force: true }));
  const workDirectory = join(directory, 'work');
  await mkdir(workDirectory);
  const base: FleetBase =
    options.base ??
    (await makeBaseImage({
      cacheDirectory: baseImageCache,
      onLine: (line) => process.stderr.write(`  ${line}\n`),
    }));
  const gate = services.use(await startGate());
  const rabbitMq = services.use(await startRabbitMq());
  const launchpad = services.use(
    await startLaunchpad({
      ppas: [
        {
          owner: 'project',
          name: 'ppaname',
          series: [base.codename],
          packages: [
            { name: 'libfoo' },
            { name: 'slow', scripts: { postinst: gate.script } },
            ...(options.packages?.(gate) ?? []),
          ],
        },
      ],
    }),
  );
  const images = services.use(await startImageServer(base.path));
  const mailbox = await openMailbox(rabbitMq.url, exchange);
  const workers = new Map<FunctionProcess, Set<'waking'>>();

  const wakeOne = async (worker: FunctionProcess, calls: Set<'waking'>) => {
    if (calls.has('waking')) return;
    calls.add('waking');
    await call(worker.address, '/', { method: 'POST', body: '' }).catch(() => {});
    calls.delete('waking');
  };
  const wake = () => {
    for (const [worker, calls] of workers) void wakeOne(worker, calls);
  };
  const gateway = createServer((request, response) => {
    if (request.url === '/async-function/build-worker') wake();
    request.resume();
    response.writeHead(202).end();
  });
  const { url: gatewayUrl } = services.use(await listen(gateway));
  let timerOn = true;
  const timer = setInterval(() => timerOn && wake(), 250);
  services.defer(() => clearInterval(timer));

  const settings = {
    IMAGEBUILDER_AMQP_URL: rabbitMq.url,
    IMAGEBUILDER_GATEWAY_URL: gatewayUrl,
    IMAGEBUILDER_WORK_DIRECTORY: workDirectory,
    IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
    IMAGEBUILDER_STORE_DIRECTORY: storeDirectory,
    // Tests that build the same twice look at what the second build does.
    IMAGEBUILDER_FINISHED_CACHE_SIZE: '0',
    IMAGEBUILDER_GUEST: 'host',
    IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
    IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
    IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
    IMAGEBUILDER_LEASE: String(leaseSeconds),
    IMAGEBUILDER_HEARTBEAT: String(heartbeatSeconds),
    ...(typeof options.settings === 'function' ? await options.settings(rabbitMq) : options.settings),
  };
  const handlers = join(import.meta.dirname, '..', '..', 'functions');
  const functions: FunctionProcess[] = [];
  const start = async (name: string, env: Readonly<Record<string, string>> = {}) => {
    const started = await startFunction({ handler: join(handlers, name, 'handler.ts'), env: { ...settings, ...env } });
    functions.push(started);
    return started;
  };
  let buildImage = await start('build-image');
  services.defer(() => buildImage[Symbol.asyncDispose]());
  const broker = services.use(
    await openBroker({
      amqpUrl: rabbitMq.url,
      leaseMs: leaseSeconds * 1000,
      eventRetentionSeconds: 604_800,
      eventRetentionBytes: 64 * 1024 * 1024,
      name: 'test',
      log: createLog({ level: 'error' }),
    }),
  );
  await broker.ledger.ready();
  const started = services.move();

  const when: Fleet['when'] = async (buildId, wanted) => {
    for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(5)) {
      const build = broker.ledger.get(buildId);
      if (build === undefined) continue;
      if (wanted(build)) return build;
      if (isTerminal(build.state)) throw new Error(`ended before that: ${build.state} ${build.event.message}`);
    }
    const { event } = broker.ledger.get(buildId) ?? {};
    const log = [...workers.keys()].map(({ lines }) => lines.slice(-15).join('\n')).join('\n\n');
    throw new Error(`waited ${patienceMs / 1000} s in vain; newest: ${JSON.stringify(event)}\n${log}`);
  };

  return {
    ...{
      rabbitMq,
      launchpad,
      gate,
      images,
      mailbox,
      base,
      broker,
      directory,
      workDirectory,
      storeDirectory,
      settings,
      functions,
    },
    request: requestsFor({
      baseUrl: images.url,
      imageType: base.imageType ?? 'cloud',
      series: base.codename,
      exchange,
    }),
    async submit(request, more = {}) {
      const { status, body, headers } = await call(buildImage.address, '/', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...more },
        body: JSON.stringify(request),
      });
      const { build_id: buildId = '' } = JSON.parse(body.toString()) as { build_id?: string };
      return { status, buildId, retryAfter: headers['retry-after'], text: JSON.stringify(headers) + body.toString() };
    },
    cancel: async (buildId) => (await call(buildImage.address, `/${buildId}`, { method: 'DELETE' })).status,
    async startWorker(name, more = {}) {
      const worker = await start('build-worker', { max_inflight: '4', IMAGEBUILDER_WORKER_NAME: name, ...more });
      workers.set(worker, new Set());
      started.defer(() => worker[Symbol.asyncDispose]());
      void worker.exited.then(() => workers.delete(worker));
      return worker;
    },
    async killWorkers() {
      await Promise.all([...workers.keys()].map((worker) => worker[Symbol.asyncDispose]()));
    },
    workers: () => [...workers.keys()],
    async restartBuildImage() {
      await buildImage[Symbol.asyncDispose]();
      buildImage = await start('build-image');
    },
    workerNamed(name) {
      const worker = [...workers.keys()].find(({ lines }) => lines.some((line) => line.includes(`"worker":"${name}"`)));
      if (worker === undefined) throw new Error(`no worker ${name} is running`);
      return worker;
    },
    wake,
    timer(on) {
      timerOn = on;
    },
    when,
    ended: (buildId) => when(buildId, ({ state }) => isTerminal(state)),
    async notifications(buildId) {
      for (const end = Date.now() + patienceMs; ; await sleep(100)) {
        const events = (await mailbox.read()).filter((event) => event.build_id === buildId);
        if (events.some(({ state }) => isTerminal(state)) || Date.now() > end) return events;
      }
    },
    async buriedBuilds() {
      const connection = await connect(rabbitMq.url);
      const channel = await connection.createChannel();
      const ids: string[] = [];
      for (;;) {
        const message = await channel.get(queues.buried, { noAck: true });
        if (message === false) break;
        ids.push(String(message.properties.messageId));
      }
      await connection.close();
      return ids;
    },
    async brokerProcesses() {
      return (await processesIn(dirname(rabbitMq.env.RABBITMQ_MNESIA_BASE ?? ''))).map(({ id }) => id);
    },
    async leftFiles() {
      const incoming = (await readdir(storeDirectory)).filter((name) => name.startsWith('.incoming-'));
      return [...(await readdir(workDirectory)), ...incoming];
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
