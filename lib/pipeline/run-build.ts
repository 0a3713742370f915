import { join } from 'node:path';
import type { BuildStep } from '../api/event.ts';
import type { BuildRequest } from '../api/request.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { ChosenGuest } from '../guest/choose.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { assertTrials } from '../guest/vm/trial.ts';
import { imageKinds } from '../kinds/index.ts';
import type { ImageKind } from '../kinds/kind.ts';
import { openDiskSpace } from '../limits/disk-space.ts';
import { limitOutput } from '../limits/output-limit.ts';
import type { Artifacts } from '../store/artifact.ts';
import type { Store } from '../store/store.ts';
import { type BaseContent, readBaseContent } from './base-content.ts';
import { checkBoot, noFindings } from './check-boot.ts';
import type { BuildContext, BuildTools, LimitedContext } from './context.ts';
import { wantedDiskBytes } from './disk-size.ts';
import { writeDocuments } from './documents.ts';
import { fetchInputs } from './fetch-inputs.ts';
import { forgettingDamage } from './forget-damage.ts';
import { hideAnswers } from './hide-answers.ts';
import { watchImageRoom } from './image-room.ts';
import { addPpas, install } from './install.ts';
import { makeRoomInCaches } from './make-room.ts';
import { openImage } from './open-image.ts';
import { repeatChange } from './repeat.ts';
import { type BuildResult, baseName, describeBase } from './result.ts';
import { assertNotExpired, signImage } from './sign-image.ts';
import { runStep } from './step.ts';
import { tryBoot } from './try-boot.ts';
import { openWorkDirectory } from './work-directory.ts';

export interface Build {
  readonly buildId: string;
  readonly request: BuildRequest;
  /** Name of the caller who has submitted it; null where it is not known. */
  readonly caller: string | null;
}

/**
 * Runs one attempt at one build, from its URLs to its place in the store. Leaves only the stored image and warm caches
 * behind, whatever happens. Throws ImageBuilderError, or the reason of the signal.
 */
export async function runBuild(build: Build, tools: BuildTools, context: BuildContext): Promise<BuildResult> {
  const hidden = hideAnswers(build.request.debconf_selections, context.reporter);
  try {
    return await runAttempt(build, tools, {
      ...{ ...context, reporter: hidden.reporter },
      onStepEnd: (ended) =>
        context.onStepEnd?.({ ...ended, error: ended.error && toImageBuilderError(hidden.error(ended.error)) }),
    });
  } catch (error) {
    throw hidden.error(error);
  }
}

async function runAttempt(build: Build, tools: BuildTools, context: BuildContext): Promise<BuildResult> {
  const { settings } = tools;
  const { reporter, log } = context;
  const store = tools.storeFor(build.request.base_image.image_type);

  // An earlier attempt may have stored the image and died before its event.
  const present = await store.find(build.buildId, { signal: context.signal });
  if (present !== null) {
    const [image, ...artifacts] = present;
    return { image, artifacts };
  }

  const kind: ImageKind = imageKinds[build.request.base_image.image_type];
  const chosen = await tools.chooseGuest();
  await using work = await openWorkDirectory(settings.workDirectory, build.buildId, {
    keep: context.visitor?.keepWorkDirectory ?? false,
  });
  await using space = await openDiskSpace({
    folders: {
      work: settings.workDirectory,
      cache: settings.cacheDirectory,
      store: store.directory,
    },
    planSpace: kind.planSpace,
    workDirectory: work.path,
    scratchBytes: chosen.guest.scratchBytes,
    reserveBytes: settings.diskReserveBytes,
    makeRoom: (bytes) => makeRoomInCaches(settings.cacheDirectory, bytes),
    onNotice: (message) => reporter.notice(message),
    signal: context.signal,
    log,
  });
  const output = limitOutput(settings.maximumLogBytes);
  const room = watchImageRoom();
  const signal = AbortSignal.any([context.signal, space.exhausted, output.exceeded, room.exceeded]);
  try {
    return await runSteps({ build, kind, chosen, store, workDirectory: work.path }, tools, {
      ...context,
      signal,
      space,
      output,
      room,
    });
  } catch (error) {
    // An error while a build is being stopped is a consequence of that.
    throw signal.aborted ? signal.reason : error;
  }
}

interface Attempt {
  readonly build: Build;
  readonly kind: ImageKind;
  readonly chosen: ChosenGuest;
  readonly store: Store;
  readonly workDirectory: string;
}

async function runSteps(attempt: Attempt, tools: BuildTools, context: LimitedContext): Promise<BuildResult> {
  const { build, kind, chosen, store, workDirectory } = attempt;
  const { buildId, request } = build;
  const { series } = request.base_image;
  const { settings } = tools;
  const { signal, reporter, space } = context;
  const startedAt = new Date();
  const { maximumVirtualBytes, unprivilegedIds } = settings;
  const { compression, xzPreset, xzThreads } = settings;
  const onProgress = (current: number, total: number) => reporter.progress(current, total);
  const onFraction = (fraction: number) => reporter.progress(Math.round(fraction * 100), 100);
  let inside: ScriptRunner | null = null;
  let content: BaseContent | null = null;
  const step = async <Value>(name: BuildStep, message: string, work: () => Promise<Value>): Promise<Value> => {
    const visit = async (failed: boolean) => await context.visitor?.visit({ step: name, inside, failed });
    const explained = async () => {
      try {
        return await work();
      } catch (thrown) {
        throw signal.aborted ? thrown : await space.explain((await content?.explain(thrown)) ?? thrown);
      }
    };
    const value = await runStep(context, name, message, explained).catch(async (error: unknown) => {
      if (!signal.aborted) await visit(true);
      throw error;
    });
    await visit(false);
    return value;
  };

  assertNotExpired(settings.imageKey);
  const wantsTrial = request.boot_check || settings.bootCheck;
  if (wantsTrial) await assertTrials();
  const diskBytes = wantedDiskBytes(request, kind, maximumVirtualBytes);
  const place = { overlayPath: join(workDirectory, 'overlay.qcow2'), workDirectory, buildId };
  await using prepared = (await chosen.guest.prepare?.(place, signal)) ?? null;

  const { files, sources } = await step('fetch', 'fetching the base image and looking up the PPAs', () =>
    fetchInputs(request, kind, workDirectory, tools, context),
  );

  return await forgettingDamage(files, settings, async () => {
    const inspected = await step('inspect', 'looking into the base image', () =>
      kind.inspect(files[0], {
        ...{ maximumVirtualBytes, unprivilegedIds, workDirectory, signal, outputFormat: request.output_format },
        ...{ diskBytes, baseImage: request.base_image, files },
        onNotice: (notice) => reporter.notice(notice),
        onProgress: onFraction,
      }),
    );
    const { base = files[0] } = inspected;

    if (inspected.waysToBoot === null && request.boot_check) {
      throw new ImageBuilderError('image.unsupported', 'no machine boots an image of this kind: leave boot_check out');
    }
    await using reading = readBaseContent(base, inspected, settings, signal);
    content = reading;

    const { disk, image } = await step('open', 'opening the image', async () => {
      await space.claim(space.plan.beforeChange(inspected.size, null));
      const disk = await inspected.open(place, { signal });
      const { guest, accelerator, reason } = chosen;
      reporter.guest({ kind: guest.kind, accelerator, reason });
      const image = await openImage({ disk, opener: prepared ?? guest, base, series, kind }, tools, context);
      inside = image.session;
      return { disk, image };
    });
    await using _ = image;
    const change = { image, size: inspected.size, workDirectory, series, sources, request };

    const { apt, repositories } = await step(
      'sources',
      sources.length === 0 ? 'updating the package lists' : 'adding the PPAs',
      () => addPpas(change, tools, context),
    );

    const wanted = request.package_list;
    const { packages, removed, installed } = await step(
      'install',
      wanted.length === 0 ? 'no packages to install' : `installing ${wanted.join(' ')}`,
      () => install(wanted, apt, change, tools, context),
    );

    const { boots, touched, licences } = await step('seal', 'cleaning up inside the image', async () => {
      inside = null;
      const { bootFiles, ...found } = await image.seal(wantsTrial && inspected.boot !== null);
      if (bootFiles === null) return { boots: noFindings, ...found };
      const boots = await checkBoot(bootFiles, { inspected, guest: chosen.guest, place }, tools, context);
      return { boots, ...found };
    });

    const repetitions = inspected.repetitions(disk);
    const repeat = async () => {
      const first = { wanted, changed: packages, removed, instead: installed.plan.instead };
      const place = { base, kind, guest: chosen.guest, buildId, workDirectory, size: inspected.size };
      const onSession = (session: ScriptRunner | null) => {
        inside = session;
      };
      return await repeatChange(repetitions, { first, ...place, sources, request, onSession }, tools, context);
    };
    const repeated =
      repetitions.length === 0 ? [] : await step('layers', 'repeating the change in the layers above', repeat);

    const path = join(workDirectory, `image.${inspected.format}`);
    await step('repack', 'packing the image again', async () => {
      await space.claim(space.plan.beforeRepack(inspected.size, await inspected.changedBytes(disk)));
      await inspected.pack(disk, path, {
        ...{ compression, xzPreset, xzThreads, signal },
        onProgress: onFraction,
        onLog: (line) => reporter.log(line),
        onWarning: (message) => image.warn(message),
      });
    });

    const name = baseName(series, request.ticket_id, buildId);
    const artifacts = await step('check', 'checking the new image', async (): Promise<Artifacts> => {
      await reading.whole();
      const found = await inspected.check(path, `${name}.${inspected.format}`, { signal, onProgress });
      const { waysToBoot } = inspected;
      if (wantsTrial && waysToBoot !== null) {
        const { accelerator } = chosen;
        await tryBoot(path, { ...boots, waysToBoot }, { accelerator, workDirectory }, tools, context);
      }
      const origin = { build, base, chosen, startedAt, finishedAt: new Date() };
      const [checked, ...others] = found;
      const beside = [...others, ...(await signImage(found, settings.imageKey, workDirectory, signal))];
      const content = { wanted, installed, repositories, touched, licences };
      const described = { ...origin, ...content, image: checked, beside, before: image.facts };
      return [checked, ...beside, ...(await writeDocuments(described, workDirectory, settings))];
    });

    const [stored, ...beside] = await step('upload', `putting the image into the ${store.kind} store`, async () => {
      const bytes = artifacts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      await space.claim(space.plan.beforeUpload(bytes));
      const { architecture, distribution, distributionVersion } = image.facts;
      const system = { architecture, distribution, distributionVersion };
      const named = { buildId, ticketId: request.ticket_id, series, caller: build.caller };
      const origin = { ...named, baseImageSha256: base.sha256, ...system };
      const places = await store.put(artifacts, origin, { signal, onProgress });
      tools.observer?.stored(store.kind, bytes);
      return places;
    });
    const warnings = [...new Set([...image.warnings, ...repeated, ...boots.warnings])];
    const optional = { ...(removed.length === 0 ? {} : { removed }), ...(warnings.length === 0 ? {} : { warnings }) };
    return {
      image: { ...stored, packages, ...optional, base_image_sha256: base.sha256, base_image: describeBase(base) },
      artifacts: beside,
    };
  });
}
