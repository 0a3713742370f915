import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { type Client, createClient } from '#lib/client/client.ts';
import { type Gate, startGate } from '../fleet/gate.ts';
import { baseImageCache } from '../images/cache.ts';
import { makeSmallImage } from '../images/small-image.ts';
import { requestsFor } from '../request.ts';
import { startCaller } from '../servers/caller.ts';
import { startImageServer } from '../servers/image-server.ts';
import { startLaunchpad } from '../servers/launchpad.ts';
import { freePorts } from '../servers/ports.ts';
import { type RabbitMq, startRabbitMq } from '../servers/rabbitmq.ts';
import { startServeProcess } from '../servers/serve-process.ts';

/** `imagebuilder serve` with tokens, a small base image and a PPA, for those who look at its page. */
export interface PageService extends AsyncDisposable {
  readonly url: string;
  readonly amqpUrl: string;
  readonly rabbitMq: Pick<RabbitMq, 'stop' | 'start'>;
  readonly gate: Gate;
  /** The token of a caller who may do everything, and of one who may only look. */
  readonly tokens: { readonly operator: string; readonly reader: string };
  /** The API for the first of them. */
  readonly client: Client;
  /** URL of the base image. */
  readonly baseUrl: string;
  readonly series: string;
  readonly exchange: string;
  /** A valid request; every call has a new ticket. */
  request(changes?: Partial<BuildRequestInput>): BuildRequestInput;
  /** Stops `imagebuilder serve`, and starts it at the same address. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

const exchange = 'lander.progress';
const root = join(import.meta.dirname, '..', '..');

export interface PageServiceOptions {
  /** Package that waits at the gate while it is installed, beside `libfoo` in the PPA. Default `slow`. */
  readonly held?: string;
  /** Lines that it prints before. */
  readonly scriptOutput?: readonly string[];
}

export async function startPageService({
  held = 'slow',
  scriptOutput = [],
}: PageServiceOptions = {}): Promise<PageService> {
  await using services = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-page-'));
  services.defer(() => rm(directory, { recursive: true, force: true }));
  // The mode of /var/lib: tools that run as other users reach the work directory.
  await chmod(directory, 0o711);
  const base = await makeSmallImage(baseImageCache, (line) => process.stderr.write(`  ${line}\n`));
  const gate = services.use(await startGate());
  const print = scriptOutput.map((line) => `echo '${line}'`).join('\n');
  const [rabbitMq, launchpad, images] = await Promise.all([
    startRabbitMq(),
    startLaunchpad({
      ppas: [
        {
          ...{ owner: 'project', name: 'ppaname', series: [base.codename], key: 'ed25519' },
          packages: [
            { name: 'libfoo' },
            { name: held, scripts: { postinst: `echo made > /etc/made-by-${held}\n${print}\n${gate.script}` } },
          ],
        },
      ],
    }),
    startImageServer(base.path),
  ]);
  for (const server of [rabbitMq, launchpad, images]) services.use(server);
  services.use(await startCaller(rabbitMq.url, exchange));
  const tokens = { operator: randomBytes(24).toString('hex'), reader: randomBytes(24).toString('hex') };
  const secrets = join(directory, 'secrets');
  await mkdir(secrets);
  const callers = [
    { name: 'lander', role: 'operate', token: tokens.operator },
    { name: 'watcher', role: 'read', token: tokens.reader },
  ];
  await writeFile(join(secrets, 'imagebuilder-tokens'), JSON.stringify({ callers }));
  const [port = 0] = await freePorts(1);
  const logFile = join(directory, 'serve.log');
  const startServe = () =>
    startServeProcess({
      ...{ root, logFile, port, signal: new AbortController().signal },
      settings: {
        IMAGEBUILDER_AMQP_URL: rabbitMq.url,
        IMAGEBUILDER_SECRETS_DIRECTORY: secrets,
        IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
        IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
        IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
        IMAGEBUILDER_GUEST: 'host',
        // Tests that build the same twice look at what the second build does.
        IMAGEBUILDER_FINISHED_CACHE_SIZE: '0',
        IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
        IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
        IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
        IMAGEBUILDER_WORKER_NAME: 'builder-1',
        WORKER_PARALLEL_BUILDS: '2',
      },
    });
  let serve = await startServe();
  services.defer(() => serve[Symbol.asyncDispose]());
  const started = services.move();
  return {
    ...{ url: serve.url, amqpUrl: rabbitMq.url, rabbitMq, gate, tokens },
    ...{ baseUrl: images.url, series: base.codename, exchange },
    client: createClient({
      url: serve.url,
      token: { text: tokens.operator, file: 'imagebuilder-tokens' },
      signal: new AbortController().signal,
    }),
    request: requestsFor({ baseUrl: images.url, series: base.codename, exchange }),
    async stop() {
      await serve[Symbol.asyncDispose]();
    },
    async start() {
      serve = await startServe();
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
