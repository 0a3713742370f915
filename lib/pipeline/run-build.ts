import { join } from 'node:path';
import { toImageBuilderError } from '../errors.ts';
import type { ChosenGuest } from '../guest/choose.ts';
import type { Guest, PreparedGuest } from '../guest/guest.ts';
import { assertTrials } from '../guest/vm/trial.ts';
import { imageKinds } from '../kinds/index.ts';
import type { ImageKind } from '../kinds/kind.ts';
import { openDiskSpace } from '../limits/disk-space.ts';
import { limitOutput } from '../limits/output-limit.ts';
import type { Artifacts } from '../store/artifact.ts';
import type { Store } from '../store/store.ts';
import type { Attempt, Build, MadeImage } from './attempt.ts';
import type { BuildContext, BuildTools, LimitedContext } from './context.ts';
import { wantedDiskBytes } from './disk-size.ts';
import { writeDocuments } from './documents.ts';
import { type BuildInputs, fetchInputs } from './fetch-inputs.ts';
import { forgettingDamage } from './forget-damage.ts';
import { hideAnswers } from './hide-answers.ts';
import { watchImageRoom } from './image-room.ts';
import { openLayers } from './layers.ts';
import { makeImage } from './make-image.ts';
import { makeRoomInCaches } from './make-room.ts';
import { type BuildResult, baseName, describeBase } from './result.ts';
import { openReuse, type Reuse } from './reuse.ts';
import { assertNotExpired, signImage } from './sign-image.ts';
import { type Steps, stepsOf } from './steps.ts';
import { openWorkDirectory } from './work-directory.ts';

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

interface Chosen {
  readonly build: Build;
  readonly kind: ImageKind;
  readonly chosen: ChosenGuest;
  readonly store: Store;
  readonly workDirectory: string;
}

async function runSteps(given: Chosen, tools: BuildTools, context: LimitedContext): Promise<BuildResult> {
  const { build, chosen, kind, store, workDirectory } = given;
  const { buildId, request } = build;
  const { series } = request.base_image;
  const { settings } = tools;
  const { signal } = context;

  assertNotExpired(settings.imageKey);
  const isBooted = request.boot_check || settings.bootCheck;
  if (isBooted) await assertTrials();
  const diskBytes = wantedDiskBytes(request, kind, settings.maximumVirtualBytes);
  const place = { overlayPath: join(workDirectory, 'overlay.qcow2'), workDirectory, buildId };
  await using prepared = (await chosen.guest.prepare?.(place, signal)) ?? null;
  const decided = { build, kind, chosen, store, place, diskBytes, isBooted };
  const opener = openerOf(chosen.guest, prepared);
  const attempt: Attempt = { ...decided, opener, baseName: baseName(series, request.ticket_id, buildId) };
  const steps = stepsOf(context);

  const inputs = await steps.run('fetch', 'fetching the base image and looking up the PPAs', () =>
    fetchInputs(request, kind, workDirectory, tools, context),
  );
  return await forgettingDamage(inputs.files, settings, async () => {
    const reuse = await openReuse(attempt, inputs, steps, tools, context);
    const same = await reuse.find();
    const describe = (made: MadeImage) => describeImage(made, attempt, tools, context);
    const make = () => makeAnew(attempt, inputs, steps, tools, context, describe);
    const finished = await (same === null ? make() : steps.run('check', 'describing the image', () => describe(same)));
    return await storeImage(finished, attempt, reuse, steps, tools, context);
  });
}

/** The prepared guest opens one image. */
function openerOf(guest: Guest, prepared: PreparedGuest | null): Pick<Guest, 'open'> {
  let next = prepared;
  return {
    async open(disk, options) {
      const opener = next ?? guest;
      next = null;
      return await opener.open(disk, options);
    },
  };
}

async function makeAnew<Finished>(
  attempt: Attempt,
  inputs: BuildInputs,
  steps: Steps,
  tools: BuildTools,
  context: LimitedContext,
  finish: (made: MadeImage) => Promise<Finished>,
): Promise<Finished> {
  const layers = await openLayers(attempt, inputs, steps, tools, context);
  await using beginning = await layers.begin();
  try {
    return await makeImage(attempt, inputs, { layers, beginning }, steps, tools, context, finish);
  } catch (error) {
    const layer = beginning?.layer ?? null;
    if (layer !== null && !context.signal.aborted) await layers.forget(layer);
    throw error;
  }
}

interface DescribedImage {
  readonly made: MadeImage;
  readonly artifacts: Artifacts;
}

/** Signs a checked image, and writes the documents of this build about it. */
async function describeImage(
  made: MadeImage,
  { build, place }: Attempt,
  { settings }: BuildTools,
  { signal }: LimitedContext,
): Promise<DescribedImage> {
  const { workDirectory } = place;
  const { found, content, base, startedAt, finishedAt, reused, layer } = made;
  const [checked, ...others] = found;
  const beside = [...others, ...(await signImage(found, settings.imageKey, workDirectory, signal))];
  const origin = { build, base, startedAt, finishedAt, reused, layer, wanted: build.request.package_list };
  const documents = await writeDocuments({ ...origin, ...content, image: checked, beside }, workDirectory, settings);
  return { made, artifacts: [checked, ...beside, ...documents] };
}

async function storeImage(
  { made, artifacts }: DescribedImage,
  { build, store }: Attempt,
  reuse: Reuse,
  steps: Steps,
  tools: BuildTools,
  context: LimitedContext,
): Promise<BuildResult> {
  const { signal, space, reporter } = context;
  const { base, content, reused, layer } = made;
  const { before, packages, removed, warnings } = content;
  const onProgress = (current: number, total: number) => reporter.progress(current, total);
  const put = async () => {
    const bytes = artifacts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    await space.claim(space.plan.beforeUpload(bytes));
    const { architecture, distribution, distributionVersion } = before;
    const { ticket_id: ticketId, base_image } = build.request;
    const named = { buildId: build.buildId, ticketId, series: base_image.series, caller: build.caller };
    const origin = { ...named, baseImageSha256: base.sha256, architecture, distribution, distributionVersion };
    const places = await store.put(artifacts, origin, { signal, onProgress });
    tools.observer?.stored(store.kind, bytes);
    return places;
  };
  const [stored, ...beside] = await steps.run('upload', `putting the image into the ${store.kind} store`, () =>
    reuse.keeping(made, put),
  );
  const optional = {
    ...(removed.length === 0 ? {} : { removed }),
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
    ...(reused === null ? {} : { reused }),
    ...(layer === null ? {} : { layer }),
  };
  return {
    image: { ...stored, packages, ...optional, base_image_sha256: base.sha256, base_image: describeBase(base) },
    artifacts: beside,
  };
}
