import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cloneFile } from '../copy-file.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import { sizeOfRanges } from '../image/copy-range.ts';
import { hashFile } from '../image/digest.ts';
import { writeRest } from '../image/shared-runs.ts';
import type { Artifact, Artifacts, ImageArtifact, OtherArtifact } from '../store/artifact.ts';
import type { Attempt, MadeImage } from './attempt.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { BuildInputs } from './fetch-inputs.ts';
import { type FinishedBuild, type FinishedBuilds, type KeptFile, openFinishedBuilds } from './finished-builds.ts';
import { differenceOf, type MadeOf, madeOf } from './made-of.ts';
import { requestKey } from './request-key.ts';
import type { Steps } from './steps.ts';
import { openAptOnWorker, planOnWorker } from './worker-plan.ts';

/** The image of an earlier build with the same request. */
export interface Reuse {
  /** The image, verified and in the work directory, where building anew would give the same one; else null. */
  find(): Promise<MadeImage | null>;
  /** Calls `store`, and then keeps the image for later builds. It never fails a build. */
  keeping<Stored>(made: MadeImage, store: () => Promise<Stored>): Promise<Stored>;
}

/** A build that a person looks into neither takes images nor leaves some. */
export async function openReuse(
  attempt: Attempt,
  inputs: BuildInputs,
  steps: Steps,
  tools: BuildTools,
  context: LimitedContext,
): Promise<Reuse> {
  const { settings } = tools;
  if (settings.finishedCacheBytes === 0 || context.visitor !== undefined) {
    return { find: async () => null, keeping: (_made, store) => store() };
  }
  const { build, chosen, kind, isBooted } = attempt;
  const finished = await openFinishedBuilds(settings.cacheDirectory, settings.finishedCacheBytes);
  const keyed = { ...build, ...inputs, kind, guest: chosen.guest, isBooted };
  const key = requestKey(keyed, settings);
  const place: Place = { attempt, inputs, finished, key };
  return {
    async find() {
      if (!build.request.reuse) return null;
      const earlier = await finished.find(key);
      if (earlier === null) return null;
      return await steps.run('reuse', 'looking whether the image would be the same as before', () =>
        takeSame(earlier, place, tools, context),
      );
    },
    keeping: (made, store) => keepWhileStored(made, store, place, tools, context),
  };
}

interface Place {
  readonly attempt: Attempt;
  readonly inputs: BuildInputs;
  readonly finished: FinishedBuilds;
  readonly key: string;
}

async function takeSame(
  earlier: FinishedBuild,
  { attempt, inputs, finished, key }: Place,
  tools: BuildTools,
  context: LimitedContext,
): Promise<MadeImage | null> {
  const { signal, reporter, log } = context;
  const startedAt = new Date();
  const difference = await planAgain(earlier, attempt, inputs, tools, context).then(
    (plan) => (plan === null ? 'its packages cannot be compared' : differenceOf(earlier.madeOf, plan)),
    (error: unknown) => {
      signal.throwIfAborted();
      // The build meets it again, and says it in its own step.
      return toImageBuilderError(error).message;
    },
  );
  if (difference !== null) {
    reporter.log(`the image of build ${earlier.buildId} is not used again: ${difference}`);
    return null;
  }
  // A release has its root file system among several files.
  const own = inputs.files.find(({ sha256 }) => sha256 === earlier.baseSha256);
  const base = own ?? inputs.files[0];
  const found = await takeFiles(earlier, base.path, attempt, finished, context).catch((error: unknown) => {
    signal.throwIfAborted();
    log.warn('a finished image cannot be taken from the cache', { made_by: earlier.buildId, error });
    return null;
  });
  if (found === null) {
    await finished.forget(key);
    return null;
  }
  const { buildId, startedAt: began, finishedAt, content } = earlier;
  reporter.notice(`build ${buildId} has made the same image at ${finishedAt}: it is used again`);
  for (const warning of content.warnings) reporter.notice(warning);
  const reused = { build_id: buildId, started_at: began, finished_at: finishedAt };
  return { base, found, content, startedAt, finishedAt: new Date(), reused, layer: null, again: null };
}

/**
 * The plan that apt makes now of the same installation, with the state of the base image from the earlier build. Throws as
 * `openAptOnWorker` and `planOnWorker` do.
 */
async function planAgain(
  { basis, baseSha256, content }: FinishedBuild,
  { build }: Attempt,
  { sources }: BuildInputs,
  tools: BuildTools,
  context: LimitedContext,
): Promise<MadeOf | null> {
  const { buildId, request } = build;
  const { package_list: wanted, allow_downgrades: allowDowngrades } = request;
  const asked = { state: basis.state, baseSha256, buildId, wanted, sources, allowDowngrades };
  await using worker = await openAptOnWorker(asked, tools, context);
  const { updated, plan } = await planOnWorker(worker, tools, context);
  const unknown = updated.warnings.find((message) => !content.warnings.includes(message));
  if (unknown !== undefined) throw new ImageBuilderError('apt.repository', unknown);
  return madeOf(updated.releases, plan);
}

/** The files of the earlier build under the names of this one; null where they are no longer there, or damaged. */
async function takeFiles(
  earlier: FinishedBuild,
  basePath: string,
  { place, baseName, store }: Attempt,
  finished: FinishedBuilds,
  { signal, reporter, space, log }: LimitedContext,
): Promise<Artifacts | null> {
  const bytes = earlier.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const needs = space.plan.beforeUpload(bytes);
  await space.claim({ ...needs, work: needs.work + bytes });
  // A store of this machine gets files that nobody shares: what happens to them there must not reach the cache.
  const form = store.directory === null ? 'link' : 'copy';
  const found: Artifact[] = [];
  for (const [index, file] of earlier.files.entries()) {
    const path = join(place.workDirectory, `finished-${index}`);
    if (!(await finished.take(file, path, { form, basePath, signal }))) return null;
    const { sizeBytes, checksums } = await hashFile(path, {
      signal,
      onProgress: (current, total) => reporter.progress(current, total, 'verifying the image'),
    });
    if (sizeBytes !== file.sizeBytes || checksums.sha256 !== file.checksums.sha256) {
      log.warn('a finished image in the cache is damaged', { name: file.name, made_by: earlier.buildId });
      reporter.notice(`warning: ${file.name} of build ${earlier.buildId} is damaged in the cache: it is built anew`);
      return null;
    }
    const isNamed = file.name.startsWith(earlier.baseName);
    const name = isNamed ? `${baseName}${file.name.slice(earlier.baseName.length)}` : file.name;
    const { rest: _, ...taken } = file;
    found.push({ ...taken, name, path } as Artifact);
  }
  return found as [ImageArtifact, ...OtherArtifact[]];
}

/**
 * Keeps the image when it is stored. A store of this machine moves it away, and the cache gets a copy before: of what the
 * base image has not, where that is known.
 */
async function keepWhileStored<Stored>(
  made: MadeImage,
  store: () => Promise<Stored>,
  { attempt, finished, key }: Place,
  { settings }: BuildTools,
  { signal, log, space }: LimitedContext,
): Promise<Stored> {
  const { found, again } = made;
  const isMoved = attempt.store.directory !== null;
  const bytes = found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const keptBytes = isMoved ? found.reduce((sum, file) => sum + ownBytes(file), 0) : bytes;
  if (again === null || keptBytes > settings.finishedCacheBytes) return await store();
  const { workDirectory } = attempt.place;
  const paths: string[] = [];
  const files: KeptFile[] = [];
  try {
    if (isMoved) {
      const needs = space.plan.beforeUpload(bytes);
      await space.claim({ ...needs, work: needs.work + keptBytes });
    }
    for (const [index, { path, sharedWithBase = [], ...file }] of found.entries()) {
      const copy = join(workDirectory, `kept-${index}`);
      paths.push(isMoved ? copy : path);
      const isCut = isMoved && sharedWithBase.length > 0;
      if (isMoved && !isCut) await cloneFile(path, copy, signal);
      files.push(isCut ? { ...file, rest: await writeRest(path, sharedWithBase, copy, signal) } : file);
    }
  } catch (error) {
    signal.throwIfAborted();
    log.warn('the finished image is not kept', { error });
    if (isMoved) for (const path of paths) await rm(path, { force: true });
    return await store();
  }
  const stored = await store();
  const { buildId } = attempt.build;
  const { startedAt, finishedAt, content, base } = made;
  const times = { startedAt: startedAt.toISOString(), finishedAt: finishedAt.toISOString() };
  const build = { buildId, ...times, baseName: attempt.baseName, baseSha256: base.sha256, ...again, content, files };
  await finished.keep(key, build, paths, workDirectory).catch((error: unknown) => {
    log.warn('the finished image is not kept', { error });
  });
  return stored;
}

/** Bytes of a file that the base image has not. */
function ownBytes({ sizeBytes, sharedWithBase = [] }: Artifact): number {
  return sizeBytes - sizeOfRanges(sharedWithBase);
}
