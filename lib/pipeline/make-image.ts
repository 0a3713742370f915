import { join } from 'node:path';
import type { LayerReport } from '../api/image-result.ts';
import { together } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import type { Artifacts } from '../store/artifact.ts';
import { sync } from '../store/file/place.ts';
import type { Attempt, MadeImage } from './attempt.ts';
import { readBaseContent } from './base-content.ts';
import { findBaseCopy } from './base-copy.ts';
import { checkBoot, noFindings } from './check-boot.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import { openFetchAhead } from './fetch-ahead.ts';
import type { BuildInputs } from './fetch-inputs.ts';
import { addPpas, install } from './install.ts';
import type { Layer } from './layer-store.ts';
import type { Beginning, Layers } from './layers.ts';
import { madeOf } from './made-of.ts';
import { openImage } from './open-image.ts';
import { repeatChange } from './repeat.ts';
import type { Steps } from './steps.ts';
import { tryBoot } from './try-boot.ts';

/**
 * Builds an image: inspects and opens the base image, or a layer of it, installs, packs and checks it. `finish` is called in
 * the last step, with the checked image.
 */
export async function makeImage<Finished>(
  attempt: Attempt,
  inputs: BuildInputs,
  { layers, beginning }: { readonly layers: Layers; readonly beginning: Beginning | null },
  steps: Steps,
  tools: BuildTools,
  context: LimitedContext,
  finish: (made: MadeImage) => Promise<Finished>,
): Promise<Finished> {
  const { build, kind, chosen, place, opener, diskBytes, isBooted } = attempt;
  const { files, sources } = inputs;
  const layer = beginning?.layer ?? null;
  const { buildId, request } = build;
  const { series } = request.base_image;
  const { workDirectory } = place;
  const { settings } = tools;
  const { maximumVirtualBytes, unprivilegedIds, compression, xzPreset, xzThreads } = settings;
  const { signal, reporter, space } = context;
  const onProgress = (current: number, total: number) => reporter.progress(current, total);
  const onFraction = (fraction: number) => reporter.progress(Math.round(fraction * 100), 100);
  const startedAt = new Date();

  const begunFile: BaseImage = beginning?.file ?? files[0];
  const inspected = await steps.run('inspect', 'looking into the base image', () =>
    kind.inspect(begunFile, {
      ...{ maximumVirtualBytes, unprivilegedIds, workDirectory, signal, outputFormat: request.output_format },
      ...{ diskBytes, baseImage: request.base_image, files },
      onNotice: (notice) => reporter.notice(notice),
      onProgress: onFraction,
    }),
  );
  const base: BaseImage = inspected.base ?? files[0];

  if (inspected.waysToBoot === null && request.boot_check) {
    throw new ImageBuilderError('image.unsupported', 'no machine boots an image of this kind: leave boot_check out');
  }
  // A layer is another disk than its base image, and a vm has not become faster by a copy.
  const mayHaveCopy = beginning === null && chosen.guest.kind === 'host';
  // The same bytes have the same facts, whatever the build does with them.
  const known = layers.known ?? undefined;
  const copy = mayHaveCopy ? await findBaseCopy(base, inspected, settings, workDirectory, context) : {};
  await using reading = readBaseContent(beginning?.file ?? base, inspected, copy.begun, settings, context);
  steps.explain = (thrown) => reading.explain(thrown);

  const { size } = inspected;
  await using ahead = await openFetchAhead({ attempt, inputs, known: layers.known, beginning, size }, tools, context);
  const { disk, image } = await steps.run('open', 'opening the image', async () => {
    await space.claim(space.plan.beforeChange(size, null));
    const disk = await inspected.open(place, { signal, begun: beginning?.overlay, uncompressedPath: copy.path });
    const { guest, accelerator, reason } = chosen;
    reporter.guest({ kind: guest.kind, accelerator, reason });
    const begun = {
      known,
      changedSince: layer?.openedSeconds,
      proxy: ahead?.worker.proxy,
      onMeasured: ahead?.start,
    };
    const image = await openImage({ disk, opener, base, series, kind, ...begun }, tools, context);
    steps.inside = image.session;
    return { disk, image };
  });
  await using _ = image;
  const { isBaseWanted } = layers;
  const state = { isBaseWanted, baseState: known?.state };
  const change = { image, size, workDirectory, series, sources, request, ahead: ahead ?? undefined, ...state };

  const { apt, repositories, basis, freshState } = await steps.run(
    'sources',
    sources.length === 0 ? 'updating the package lists' : 'adding the PPAs',
    () => addPpas(change, tools, context),
  );

  const wanted = request.package_list;
  const { packages, removed, installed, isOffline } = await steps.run(
    'install',
    wanted.length === 0 ? 'no packages to install' : `installing ${wanted.join(' ')}`,
    () => install(wanted, apt, change, tools, context),
  );

  const { boots, touched, own, licences, bootFiles } = await steps.run(
    'seal',
    'cleaning up inside the image',
    async () => {
      steps.inside = null;
      const found = await image.seal(isBooted && inspected.boot !== null);
      if (found.bootFiles === null) return { boots: noFindings, ...found };
      const boots = await checkBoot(found.bootFiles, { inspected, guest: chosen.guest, place }, tools, context);
      return { boots, ...found };
    },
  );

  const repetitions = inspected.repetitions(disk);
  const repeat = async () => {
    const first = { wanted, changed: packages, removed, instead: installed.plan.instead };
    const place = { base, kind, guest: chosen.guest, buildId, workDirectory, size };
    const onSession = (session: ScriptRunner | null) => {
      steps.inside = session;
    };
    return await repeatChange(repetitions, { first, ...place, sources, request, onSession }, tools, context);
  };
  const repeated =
    repetitions.length === 0 ? [] : await steps.run('layers', 'repeating the change in the layers above', repeat);

  const path = join(workDirectory, `image.${inspected.format}`);
  await steps.run('repack', 'packing the image again', async () => {
    await space.claim(space.plan.beforeRepack(size, await inspected.changedBytes(disk)));
    await inspected.pack(disk, path, {
      ...{ compression, xzPreset, xzThreads, signal },
      onProgress: onFraction,
      onLog: (line) => reporter.log(line),
      onWarning: (message) => image.warn(message),
    });
  });

  return await steps.run('check', 'checking the new image', async () => {
    await reading.whole();
    const name = `${attempt.baseName}.${inspected.format}`;
    const [checked] = await together<[Artifacts, unknown]>(signal, (both) => [
      inspected.check(path, name, { signal: both, onProgress }),
      // A store of this machine waits for that before it shows the image.
      attempt.store.directory === null ? Promise.resolve() : sync(path),
    ]);
    const found = layer === null ? checked : withoutSharedRuns(checked);
    const { waysToBoot } = inspected;
    if (isBooted && waysToBoot !== null) {
      const { accelerator } = chosen;
      await tryBoot(path, { ...boots, waysToBoot }, { accelerator, workDirectory }, tools, context);
    }
    const warnings = [...new Set([...image.warnings, ...repeated, ...boots.warnings])];
    const { guest, accelerator, kernel, emulator } = chosen;
    const by = { guest: guest.kind, accelerator, kernel, emulator };
    // Packages by which an image boots are in no layer.
    if (bootFiles === null) {
      const fresh =
        freshState === null
          ? null
          : { baseSha256: base.sha256, facts: image.facts, state: freshState, pristine: image.pristine };
      await layers.learn(fresh, installed.plan, own);
    }
    const made = basis === null || !isOffline ? null : madeOf(basis.releases, installed.plan);
    return await finish({
      ...{
        base,
        found,
        startedAt,
        finishedAt: new Date(),
        reused: null,
        layer: layer === null ? null : reportLayer(layer),
      },
      content: { before: image.facts, installed, repositories, touched, licences, by, packages, removed, warnings },
      again: basis === null || made === null ? null : { basis, madeOf: made },
    });
  });
}

/** The bytes that an image shares with a layer: those of the base image among them are not known. */
function withoutSharedRuns([image, ...others]: Artifacts): Artifacts {
  const { sharedWithBase: _, ...rest } = image;
  return [rest, ...others];
}

function reportLayer({ packages, madeAt }: Layer): LayerReport {
  return { packages: packages.length, made_at: madeAt };
}
