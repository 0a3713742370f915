import { copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Accelerator } from '#lib/guest/vm/machine.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { type BuildsOptions, startPlainBuilders, startServices } from '../builds.ts';
import type { HandMeasurement } from '../by-hand.ts';
import type { BuildMeasurement, GuestKind } from '../image-builder.ts';
import { type Job, packages, ppaName } from '../job.ts';
import { makeShared, noRuns, roundTeller } from '../rounds.ts';
import { benchCache, openPlace } from '../site.ts';
import { rebuildMediumByHand } from './by-hand.ts';
import { makeCdMedia } from './media.ts';

/** The builds of one guest, one per round. */
export interface CdBuilds {
  readonly guest: GuestKind;
  readonly small: readonly BuildMeasurement[];
  /** The small medium for another caller, whose builds begin with all packages but that of the PPA. */
  readonly shared: readonly BuildMeasurement[];
  readonly large: readonly BuildMeasurement[];
}

export interface CdResult {
  readonly ours: readonly CdBuilds[];
  /** The small medium, by hand. */
  readonly byHand: readonly HandMeasurement[];
  /** The large one, which takes minutes, in the first round. */
  readonly byHandLarge: HandMeasurement;
  /** Seconds of one plain copy of what the large medium has more. */
  readonly copySeconds: readonly number[];
  readonly smallBytes: number;
  readonly largeBytes: number;
  readonly accelerator: Accelerator | null;
}

/**
 * Rebuilds a live medium with each guest and by hand, in turns, and a larger one with each guest, which shows the cost of
 * each GiB. The caches of packages are filled by then. Throws `guest.unavailable` where this is not root.
 */
export async function measureCd({ root, guests, rounds, signal, onLine }: BuildsOptions): Promise<CdResult> {
  if (process.getuid?.() !== 0) {
    throw new ImageBuilderError('guest.unavailable', 'the live media and the work by hand need root');
  }
  await using cleanup = new AsyncDisposableStack();
  const media = await makeCdMedia(await benchCache(root), onLine, signal);
  const place = cleanup.use(await openPlace({ root }, media.codename));
  const { launchpad, cacheDirectory, directory } = place;
  const urls = {
    small: cleanup.use(await startImageServer(media.small)).url,
    large: cleanup.use(await startImageServer(media.large)).url,
  };
  const builders = await startPlainBuilders({ guests, signal, onLine }, place);
  for (const builder of builders) cleanup.use(builder);
  const { folders, http } = loadConfig({ IMAGEBUILDER_CACHE_DIRECTORY: join(cacheDirectory, 'by-hand') });
  const { proxy, key } = cleanup.use(await startServices({ ...folders, ...http }, launchpad, signal));
  const ppaUrl = `${launchpad.ppaUrl}/${ppaName.owner}/${ppaName.name}/ubuntu`;
  const byHandOnce = (size: 'small' | 'large') =>
    rebuildMediumByHand({
      ...{ basePath: media[size], packages: packages.cd, key, proxyUrl: proxy.url, directory, signal },
      source: `deb [signed-by=/etc/apt/keyrings/bench.asc] ${ppaUrl} ${media.codename} main`,
      bystanders: new Set(builders.map(({ processId }) => processId)),
    });
  const jobOf = (size: 'small' | 'large'): Job => ({ kind: 'cd', imageUrl: urls[size], series: media.codename });

  onLine('Warming up: each does the job once, which fills the caches …');
  for (const builder of builders) {
    for (const size of ['small', 'large'] as const) await builder.build(jobOf(size));
    await makeShared(builder, jobOf('small'));
  }
  await byHandOnce('small');
  const [smallBytes, largeBytes] = [(await stat(media.small)).size, (await stat(media.large)).size];
  const ours = builders.map((builder) => ({
    ...{ guest: builder.guest, builder, small: noRuns(), shared: noRuns(), large: noRuns() },
  }));
  const byHand: HandMeasurement[] = [];
  const copySeconds: number[] = [];
  let byHandLarge: HandMeasurement | null = null;
  for (let round = 1; round <= rounds; round += 1) {
    const tell = roundTeller(round, rounds, onLine);
    for (const each of ours) {
      for (const size of ['small', 'large'] as const) {
        const built = await each.builder.build(jobOf(size));
        each[size].push(built);
        tell(`${each.guest} guest, ${size} medium`, built);
      }
      const begun = await each.builder.build({ ...jobOf('small'), reuse: 'packages' });
      each.shared.push(begun);
      tell(`${each.guest} guest, small medium, all packages shared but one`, begun);
    }
    const byHandNow = await byHandOnce('small');
    byHand.push(byHandNow);
    tell('by hand, small medium', byHandNow);
    if (round === 1) {
      byHandLarge = await byHandOnce('large');
      tell('by hand, large medium', byHandLarge);
    }
    const copied = await timeCopy(media.large, join(directory, 'copy.iso'));
    copySeconds.push((copied * (largeBytes - smallBytes)) / largeBytes);
  }
  const accelerator = builders.find(({ guest }) => guest === 'vm')?.accelerator ?? null;
  if (byHandLarge === null) throw new RangeError('there was no round');
  return { ours, byHand, byHandLarge, copySeconds, smallBytes, largeBytes, accelerator };
}

async function timeCopy(from: string, to: string): Promise<number> {
  const started = performance.now();
  await copyFile(from, to);
  const seconds = (performance.now() - started) / 1000;
  await rm(to);
  return seconds;
}
