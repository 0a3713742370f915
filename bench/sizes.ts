import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { startImageServer } from '../lab/servers/image-server.ts';
import { measureBareScript } from './bare-script.ts';
import { type BuildsOptions, rootOf, startBuilders, startServices } from './builds.ts';
import { type Builder, type BuildMeasurement, type GuestKind, startBuilder } from './image-builder.ts';
import { type Job, packages, ppaName } from './job.ts';
import { makeLargeImage } from './large-image.ts';
import { openSite, type Site } from './site.ts';

/** Does the job of `measureBuilds` on base images of several sizes. */

export const imageSizes = ['0.2', '2', '8'] as const;
export type ImageSize = (typeof imageSizes)[number];

export interface SizesOptions extends BuildsOptions {
  readonly sizes: readonly ImageSize[];
}

export interface SizesResult {
  readonly sizes: readonly {
    readonly size: ImageSize;
    readonly baseBytes: number;
    readonly ours: readonly {
      readonly guest: GuestKind;
      /** The build that fetches the base image. */
      readonly first: BuildMeasurement;
      /** Builds with a base image of the cache, one per round. */
      readonly runs: readonly BuildMeasurement[];
    }[];
    /** The bare script, once per round. */
    readonly floor: readonly BuildMeasurement[];
  }[];
}

/** Measures one size after the other, and keeps the images of one size at a time. Needs root. */
export async function measureSizes({ sizes, guests, rounds, ...options }: SizesOptions): Promise<SizesResult> {
  const { signal, onLine } = options;
  await using cleanup = new AsyncDisposableStack();
  const site = cleanup.use(await openSite(options));
  const builders = await startBuilders(guests, onLine, (guest) => {
    const { environment, directory } = site;
    const folders = { cacheDirectory: join(directory, 'cache', guest), directory: join(directory, guest) };
    return startBuilder({ guest, environment, signal, ...folders });
  });
  for (const builder of builders) cleanup.use(builder);
  const bystanders = new Set(builders.map(({ processId }) => processId));
  onLine('Warming up: each does the job once, which fills the caches …');
  for (const builder of builders) await builder.build(site.job);

  const measured: SizesResult['sizes'][number][] = [];
  for (const size of sizes) {
    const basePath = await makeBase(size, site, options);
    await using server = await startImageServer(basePath);
    const job = { ...site.job, imageUrl: server.url };
    const ours = [];
    for (const builder of builders) {
      onLine(`${size} GiB: ${builder.guest} guest`);
      ours.push(await measureBuilder(builder, job, site, rounds));
    }
    onLine(`${size} GiB: bare script`);
    const floor = await measureFloor(basePath, site, { rounds, bystanders, signal });
    measured.push({ size, baseBytes: (await stat(basePath)).size, ours, floor });
  }
  return { sizes: measured };
}

async function makeBase(
  size: ImageSize,
  { image, cacheDirectory }: Site,
  { signal, onLine }: Pick<SizesOptions, 'signal' | 'onLine'>,
): Promise<string> {
  if (size === '0.2') return image.path;
  const root = rootOf(await inspectImage(image.path, { ...loadConfig({}).limits, signal }));
  const gibibytes = Number(size);
  return await makeLargeImage({ basePath: image.path, root, gibibytes, cacheDirectory, signal, onLine });
}

/** Builds as often as there are rounds, and once more before, without the base image in the cache. */
async function measureBuilder(builder: Builder, job: Job, { directory }: Site, rounds: number) {
  const { guest } = builder;
  const forget = async () => {
    for (const cache of ['images', 'finished']) {
      await rm(join(directory, 'cache', guest, cache), { recursive: true, force: true });
    }
  };
  await forget();
  const first = await builder.build(job);
  const runs: BuildMeasurement[] = [];
  for (let round = 1; round <= rounds; round += 1) runs.push(await builder.build(job));
  await forget();
  return { guest, first, runs };
}

async function measureFloor(
  basePath: string,
  { launchpad, directory, job }: Site,
  { rounds, ...given }: { rounds: number; bystanders: ReadonlySet<number>; signal: AbortSignal },
): Promise<BuildMeasurement[]> {
  const { folders, http, limits } = loadConfig({ IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache/bare-script') });
  await using services = await startServices({ ...folders, ...http }, launchpad, given.signal);
  const root = rootOf(await inspectImage(basePath, { ...limits, signal: given.signal }));
  const ppaUrl = `${launchpad.ppaUrl}/${ppaName.owner}/${ppaName.name}/ubuntu`;
  const source = `deb [signed-by=/etc/apt/keyrings/bench.asc] ${ppaUrl} ${job.series} main`;
  const { key, proxy } = services;
  const common = { basePath, root, source, key, packages: packages.cloud, proxyUrl: proxy.url, directory, ...given };
  // The first one fills the cache of packages, and keeps the package lists.
  await measureBareScript(common);
  const runs: BuildMeasurement[] = [];
  for (let round = 1; round <= rounds; round += 1) runs.push(await measureBareScript(common));
  return runs;
}
