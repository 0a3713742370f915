import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { BuildStatus } from '#lib/api/status.ts';
import { type Client, createClient } from '#lib/client/client.ts';
import { followBuild } from '#lib/client/follow.ts';
import { type BaseImage, makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { type Caller, startCaller } from '../../lab/servers/caller.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { type Launchpad, type PpaRecipe, startLaunchpad } from '../../lab/servers/launchpad.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { startServeProcess } from '../../lab/servers/serve-process.ts';

/** The whole service for end-to-end tests: RabbitMQ, `imagebuilder serve`, a base image on a server, PPAs, a caller. */
export interface Service extends AsyncDisposable {
  readonly url: string;
  readonly client: Client;
  readonly rabbitMq: RabbitMq;
  readonly launchpad: Launchpad;
  readonly caller: Caller;
  readonly base: BaseImage;
  readonly directory: string;
  readonly workDirectory: string;
  /** A valid request; every call has a new ticket. */
  request(changes?: Partial<BuildRequestInput>): BuildRequestInput;
  /** Submits a request and resolves with the build when it has ended. */
  build(request: BuildRequestInput): Promise<BuildStatus>;
  /** The state of the build when it has ended. */
  ended(buildId: string): Promise<BuildStatus>;
  /** Everything that `serve` and its functions have logged so far. */
  log(): Promise<string>;
}

const progressTrigger = 'testbuild-1-imagebuilder';
const root = join(import.meta.dirname, '..', '..');

export interface ServiceOptions {
  readonly ppas: (series: string) => readonly PpaRecipe[];
  readonly settings?: Readonly<Record<string, string>>;
  readonly variant?: 'plain' | 'separate-boot';
}

/** Starts all of it; disposing stops it, and keeps nothing but the cache of base images. */
export async function startService(options: ServiceOptions): Promise<Service> {
  await using services = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-service-'));
  services.defer(() => rm(directory, { recursive: true, force: true }));
  // The mode of /var/lib: tools that run as other users reach the work directory.
  await chmod(directory, 0o711);
  const base = await makeBaseImage({
    cacheDirectory: baseImageCache,
    onLine: (line) => process.stderr.write(`  ${line}\n`),
    ...(options.variant === undefined ? {} : { variant: options.variant }),
  });
  const rabbitMq = services.use(await startRabbitMq());
  const launchpad = services.use(await startLaunchpad({ ppas: options.ppas(base.codename) }));
  const images = services.use(await startImageServer(base.path));
  const caller = services.use(await startCaller(rabbitMq.url, progressTrigger));
  const workDirectory = join(directory, 'work');
  const logFile = join(directory, 'serve.log');
  const serve = services.use(
    await startServeProcess({
      root,
      logFile,
      signal: new AbortController().signal,
      settings: {
        IMAGEBUILDER_AMQP_URL: rabbitMq.url,
        IMAGEBUILDER_WORK_DIRECTORY: workDirectory,
        IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
        IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
        IMAGEBUILDER_GUEST: 'host',
        // Tests that build the same twice look at what the second build does.
        IMAGEBUILDER_FINISHED_CACHE_SIZE: '0',
        IMAGEBUILDER_LAYERS_CACHE_SIZE: '0',
        IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
        IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
        IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
        IMAGEBUILDER_CANCEL_POLL: '0.2',
        WORKER_PARALLEL_BUILDS: '2',
        ...options.settings,
      },
    }),
  );
  const client = createClient({ url: serve.url, signal: new AbortController().signal });
  const started = services.move();
  let tickets = 0;

  async function ended(buildId: string): Promise<BuildStatus> {
    let last: BuildStatus | undefined;
    for await (const update of followBuild(client, buildId, {
      appearsWithinMs: 60_000,
      signal: AbortSignal.timeout(600_000),
    })) {
      if (update.kind === 'build') last = update.build;
    }
    return BuildStatus.parse(last);
  }

  return {
    url: serve.url,
    client,
    rabbitMq,
    launchpad,
    caller,
    base,
    directory,
    workDirectory,
    request: (changes = {}) => ({
      ticket_id: `T-${++tickets}`,
      cancel_url: null,
      base_image: { image_type: 'cloud', url_list: [images.url], series: base.codename },
      ppa_list: ['ppa:project/ppaname'],
      package_list: ['libfoo', 'baz-utils'],
      progress_trigger: progressTrigger,
      ...changes,
    }),
    async build(request) {
      const { accepted } = await client.submit(request);
      return await ended(accepted.build_id);
    },
    ended,
    log: () => readFile(logFile, 'utf8'),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

/** Names in the folder where builds work: empty when no build runs and nothing was left. */
export async function leftInWorkDirectory(service: Service): Promise<string[]> {
  const names = await readdir(service.workDirectory).catch(() => []);
  return names.filter((name) => !isTrial(name));
}

/** Whether it is the file or folder by which workers try now and then, for a moment, whether they may write. */
export const isTrial = (name: string): boolean => name.startsWith('.imagebuilder-doctor-');
