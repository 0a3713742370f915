import { join } from 'node:path';
import { z } from 'zod';
import type { FolderSettings } from '#lib/config/folders.ts';
import type { HttpSettings } from '#lib/config/http.ts';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { type AptProxy, startAptProxy } from '#lib/fetch/apt-proxy.ts';
import type { Accelerator } from '#lib/guest/vm/machine.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { probeVm } from '#lib/guest/vm/probe.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import type { ImageInspection } from '#lib/image/inspection.ts';
import type { Partition } from '#lib/image/partition.ts';
import type { Launchpad } from '../lab/servers/launchpad.ts';
import { measureBareScript } from './bare-script.ts';
import { type Builder, type BuildMeasurement, type GuestKind, startBuilder } from './image-builder.ts';
import { packages, ppaName } from './job.ts';
import { makeAppliance, measureVirtCustomize, prepareLibguestfs } from './libguestfs.ts';
import { measureRepack, type RepackMeasurement } from './repack.ts';
import { makeShared, noRuns, roundTeller } from './rounds.ts';
import { openSite, type Place, type SiteOptions } from './site.ts';

export interface BuildsOptions extends SiteOptions {
  /** Null for all guests that can run here. */
  readonly guests: readonly GuestKind[] | null;
  readonly rounds: number;
}

/** Tools that do the same job. */
export type Rival = 'bare-script' | 'virt-customize';

export interface BuildsResult {
  /** Measurements by guest, one per round. */
  readonly ours: readonly {
    readonly guest: GuestKind;
    readonly runs: readonly BuildMeasurement[];
    /** The same request once more, by which the image of the run is stored again. */
    readonly again: readonly BuildMeasurement[];
    /** The same packages for another caller, which begin with all of them but that of the PPA. */
    readonly shared: readonly BuildMeasurement[];
  }[];
  /** Those of other tools, likewise. */
  readonly theirs: readonly { readonly rival: Rival; readonly runs: readonly BuildMeasurement[] }[];
  readonly repacks: readonly RepackMeasurement[];
  /** The accelerator of the vm guest and of virt-customize. */
  readonly accelerator: Accelerator;
  readonly applianceSeconds: number;
  readonly baseBytes: number;
}

/**
 * Does one job with each guest of Image Builder and with its rivals, in turns, on the same base image. The caches of
 * packages are filled by then, as far as the mirror allows caching. The bare script is left out where this is not root.
 */
export async function measureBuilds(
  { root, guests, rounds, signal, onLine }: BuildsOptions,
  wantedRivals: readonly Rival[] = ['bare-script', 'virt-customize'],
): Promise<BuildsResult> {
  await using cleanup = new AsyncDisposableStack();
  const site = cleanup.use(await openSite({ root, signal, onLine }));
  const { image, launchpad, job, cacheDirectory, directory } = site;
  const builders = await startPlainBuilders({ guests, signal, onLine }, site);
  for (const builder of builders) cleanup.use(builder);
  const { folders, guest, http, limits, tools } = loadConfig({
    IMAGEBUILDER_CACHE_DIRECTORY: join(cacheDirectory, 'virt-customize'),
  });
  const accelerator = await acceleratorOf(builders, { ...guest, ...tools, cacheDirectory: folders.cacheDirectory });

  const { proxy, key } = cleanup.use(await startServices({ ...folders, ...http }, launchpad, signal));
  const base = await inspectImage(image.path, { ...limits, signal });
  const ppaUrl = `${launchpad.ppaUrl}/${ppaName.owner}/${ppaName.name}/ubuntu`;
  const bystanders = new Set(builders.map(({ processId }) => processId));
  const common = { basePath: image.path, packages: packages.cloud, key, proxyUrl: proxy.url, bystanders, signal };
  const rivals: { rival: Rival; run: () => Promise<BuildMeasurement>; runs: BuildMeasurement[] }[] = [];
  if (wantedRivals.includes('bare-script') && process.getuid?.() === 0) {
    const source = `deb [signed-by=/etc/apt/keyrings/bench.asc] ${ppaUrl} ${job.series} main`;
    const run = () => measureBareScript({ ...common, source, root: rootOf(base), directory });
    rivals.push({ rival: 'bare-script', run, runs: [] });
  }
  let applianceSeconds = 0;
  let overlayPath: string | null = null;
  if (wantedRivals.includes('virt-customize')) {
    const guestfs = cleanup.use(
      await prepareLibguestfs({ directory: join(directory, 'libguestfs'), kvm: accelerator === 'kvm', signal }),
    );
    applianceSeconds = await makeAppliance(guestfs, image.path, signal);
    const run = async () => {
      const measured = await measureVirtCustomize(guestfs, { ...common, ppaUrl, series: job.series, directory });
      overlayPath = measured.overlayPath;
      return measured;
    };
    rivals.push({ rival: 'virt-customize', run, runs: [] });
  }

  onLine('Warming up: each does the job once, which fills the caches …');
  for (const builder of builders) {
    await builder.build(job);
    await makeShared(builder, job);
  }
  for (const { run } of rivals) await run();

  const ours = builders.map((builder) => {
    return { guest: builder.guest, builder, runs: noRuns(), again: noRuns(), shared: noRuns() };
  });
  const repacks: RepackMeasurement[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const tell = roundTeller(round, rounds, onLine);
    for (const { guest, builder, runs, again, shared } of ours) {
      const built = await builder.build(job);
      runs.push(built);
      tell(`${guest} guest`, built);
      const begun = await builder.build({ ...job, reuse: 'packages' });
      shared.push(begun);
      tell(`${guest} guest, all packages shared but one`, begun);
      const stored = await builder.build({ ...job, reuse: 'image' });
      again.push(stored);
      tell(`${guest} guest, the same again`, stored);
    }
    for (const { rival, run, runs } of rivals) {
      const measured = await run();
      runs.push(measured);
      tell(rival, measured);
    }
    if (overlayPath !== null) {
      repacks.push(...(await measureRepack({ basePath: image.path, base, overlayPath, directory, signal })));
    }
  }
  return { ours, theirs: rivals, repacks, accelerator, applianceSeconds, baseBytes: image.sizeBytes };
}

/** The partition that holds the root file system: the largest one. */
export function rootOf({ partitions }: ImageInspection): Partition {
  const [root] = [...partitions].sort((a, b) => b.sizeBytes - a.sizeBytes);
  if (root === undefined) throw new ImageBuilderError('internal', 'the base image has no partition');
  return root;
}

/** Starts a builder for each guest that `startBuilders` takes, with folders of its own. */
export async function startPlainBuilders(
  { guests, signal, onLine }: Pick<BuildsOptions, 'guests' | 'signal' | 'onLine'>,
  { environment, cacheDirectory, directory }: Place,
): Promise<Builder[]> {
  return await startBuilders(guests, onLine, (guest) =>
    startBuilder({
      ...{ guest, environment, signal },
      cacheDirectory: join(cacheDirectory, guest),
      directory: join(directory, guest),
    }),
  );
}

/** Starts a builder for each guest, by `start`; with `guests` null, for those that can run here. */
export async function startBuilders(
  guests: readonly GuestKind[] | null,
  onLine: (line: string) => void,
  start: (guest: GuestKind) => Promise<Builder>,
): Promise<Builder[]> {
  const builders: Builder[] = [];
  for (const guest of guests ?? (['host', 'vm'] as const)) {
    const builder = await start(guest).catch((error: unknown) => {
      if (guests !== null || !(error instanceof ImageBuilderError) || error.code !== 'guest.unavailable') throw error;
      onLine(`Left out: ${error.message}`);
      return null;
    });
    if (builder !== null) builders.push(builder);
  }
  if (builders.length === 0) throw new ImageBuilderError('guest.unavailable', 'no guest can run here');
  return builders;
}

/** The accelerator of vms here, also where no vm takes part. */
async function acceleratorOf(builders: readonly Builder[], settings: VmSettings): Promise<Accelerator> {
  const taken = builders.find(({ guest }) => guest === 'vm')?.accelerator;
  if (taken !== undefined && taken !== null) return taken;
  const probe = await probeVm(settings);
  return probe.usable ? probe.accelerator : 'tcg';
}

/** Starts the proxy with its cache of packages, and reads the key of the PPA, for other tools. */
export async function startServices(
  { connectTimeoutMs, stallTimeoutMs, cacheDirectory, aptCacheBytes }: FolderSettings & HttpSettings,
  launchpad: Launchpad,
  signal: AbortSignal,
): Promise<{ readonly proxy: AptProxy; readonly key: string } & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const egress = createEgress({ allowLoopback: true, allowedHosts: [] });
  const userAgent = 'imagebuilder-bench';
  const client = opened.use(createHttpClient({ egress, connectTimeoutMs, stallTimeoutMs, userAgent }));
  const cache = await createAptCache({ client, cacheDirectory, cacheBytes: aptCacheBytes });
  const proxy = opened.use(await startAptProxy({ client, cache, signal }));
  const key = await client.getJson(
    `${launchpad.apiUrl}/~${ppaName.owner}/+archive/ubuntu/${ppaName.name}?ws.op=getSigningKeyData`,
    { signal, maximumBytes: 1024 * 1024 },
  );
  const kept = opened.move();
  return { proxy, key: z.string().parse(key), [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
