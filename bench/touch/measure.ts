import { join } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { type BuildsOptions, startPlainBuilders, startServices } from '../builds.ts';
import type { HandMeasurement } from '../by-hand.ts';
import type { BuildMeasurement, GuestKind } from '../image-builder.ts';
import { packages, ppaName } from '../job.ts';
import { benchCache, openPlace } from '../site.ts';
import { type BenchBase, makeBenchBases } from './bases.ts';
import { openEmulation, rebuildArchiveByHand } from './by-hand.ts';

export interface TouchBaseResult {
  readonly base: BenchBase;
  /** One per round; with the vm guest, which takes minutes for another processor, one in all. */
  readonly ours: readonly { readonly guest: GuestKind; readonly runs: readonly BuildMeasurement[] }[];
  readonly byHand: readonly HandMeasurement[];
}

/**
 * Rebuilds archives of root file systems with each guest and by hand, in turns: of this machine's usual architecture, of one
 * that is emulated, and a large one. The caches of packages are filled by then. Throws `guest.unavailable` where this is
 * not root.
 */
export async function measureTouch(options: BuildsOptions): Promise<TouchBaseResult[]> {
  const { root, guests, rounds, signal, onLine } = options;
  if (process.getuid?.() !== 0) {
    throw new ImageBuilderError('guest.unavailable', 'the archives and the work by hand need root');
  }
  await using cleanup = new AsyncDisposableStack();
  const bases = await makeBenchBases(await benchCache(root), onLine, signal);
  const place = cleanup.use(await openPlace({ root }, bases[0].codename));
  const { launchpad, cacheDirectory, directory } = place;
  const builders = await startPlainBuilders({ guests, signal, onLine }, place);
  for (const builder of builders) cleanup.use(builder);
  const { folders, http } = loadConfig({ IMAGEBUILDER_CACHE_DIRECTORY: join(cacheDirectory, 'by-hand') });
  const { proxy, key } = cleanup.use(await startServices({ ...folders, ...http }, launchpad, signal));
  const ppaUrl = `${launchpad.ppaUrl}/${ppaName.owner}/${ppaName.name}/ubuntu`;
  const results: TouchBaseResult[] = [];
  for (const base of bases) {
    const { url: imageUrl } = cleanup.use(await startImageServer(base.path));
    const emulation = cleanup.use(await openEmulation(base.architecture));
    const byHandOnce = () =>
      rebuildArchiveByHand(
        {
          ...{ basePath: base.path, packages: packages.touch, key, proxyUrl: proxy.url, directory, signal },
          source: `deb [signed-by=/etc/apt/keyrings/bench.asc] ${ppaUrl} ${base.codename} main`,
          bystanders: new Set(builders.map(({ processId }) => processId)),
        },
        emulation,
      );
    const job = { kind: 'touch', imageUrl, series: base.codename } as const;
    onLine(`Warming up for ${base.title}: each does the job once, which fills the caches …`);
    for (const builder of builders) await builder.build(job);
    await byHandOnce();
    const ours = builders.map((builder) => ({ guest: builder.guest, builder, runs: [] as BuildMeasurement[] }));
    const byHand: HandMeasurement[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const tell = (who: string, { totalSeconds }: HandMeasurement) =>
        onLine(`Round ${round} of ${rounds}: ${base.title}, ${who}, ${totalSeconds.toFixed(2)} s`);
      for (const { guest, builder, runs } of ours) {
        if (guest === 'vm' && round > 1) continue;
        const built = await builder.build(job);
        runs.push(built);
        tell(`${guest} guest`, built);
      }
      const rebuilt = await byHandOnce();
      byHand.push(rebuilt);
      tell('by hand', rebuilt);
    }
    results.push({ base, ours, byHand });
  }
  return results;
}
