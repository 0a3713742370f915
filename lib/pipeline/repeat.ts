import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BuildRequest } from '../api/request.ts';
import { markAutomatic, readAutomatic } from '../apt/automatic.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { assertRepeated, type FirstInstallation, repeatInstallation } from '../apt/repeat.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import type { Guest, ScriptRunner } from '../guest/guest.ts';
import type { ImageKind, Repetition } from '../kinds/kind.ts';
import type { BaseSize } from '../limits/space-plan.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import { runInstallation } from './install.ts';
import { type Change, openApt } from './open-apt.ts';
import { openImage } from './open-image.ts';
import type { BuildReporter } from './reporter.ts';

/** A change that was made in one file tree of an image, and what it needs to be made in another one. */
export interface RepeatedChange {
  readonly first: FirstInstallation;
  readonly guest: Guest;
  readonly base: BaseImage;
  readonly kind: ImageKind;
  readonly size: BaseSize;
  readonly workDirectory: string;
  readonly sources: readonly PpaSource[];
  readonly request: BuildRequest;
  readonly buildId: string;
  /** Called with the session of the open file tree, and null when it is closed. */
  readonly onSession: (session: ScriptRunner | null) => void;
}

/**
 * Makes the same change in further file trees of an image, one after the other: the same PPAs, answers and packages in
 * the same versions. Resolves with the warnings of these. Throws as the first change does, naming the layer; `apt.install`
 * where a file tree has another version afterwards.
 */
export async function repeatChange(
  repetitions: readonly Repetition[],
  change: RepeatedChange,
  tools: BuildTools,
  context: LimitedContext,
): Promise<readonly string[]> {
  const warnings: string[] = [];
  for (const [index, repetition] of repetitions.entries()) {
    const count = repetitions.length;
    context.reporter.log(`layer ${repetition.name} (${index + 1} of ${count})`);
    const reporter = partReporter(context.reporter, index, count);
    reporter.progress(0, null, `repeating the change in layer ${repetition.name}`);
    try {
      warnings.push(...(await repeatIn(repetition, change, tools, { ...context, reporter })));
    } catch (thrown) {
      if (context.signal.aborted) throw thrown;
      const error = toImageBuilderError(thrown);
      const { code, faults, logTail, message } = error;
      throw new ImageBuilderError(code, `in layer ${repetition.name}: ${message}`, { cause: thrown, faults, logTail });
    } finally {
      change.onSession(null);
    }
  }
  return warnings;
}

async function repeatIn(
  repetition: Repetition,
  { first, guest, base, kind, size, sources, request, buildId, ...change }: RepeatedChange,
  tools: BuildTools,
  context: LimitedContext,
): Promise<readonly string[]> {
  const { signal } = context;
  const { series } = request.base_image;
  const workDirectory = join(change.workDirectory, 'repeated');
  // Tools that run as other users get to its files.
  await mkdir(workDirectory, { mode: 0o711 });
  try {
    const place = { overlayPath: join(workDirectory, 'overlay.qcow2'), workDirectory, buildId };
    const disk = await repetition.open(place, { signal });
    await using image = await openImage({ disk, opener: guest, base, series, kind }, tools, context);
    change.onSession(image.session);
    await reinstall(first, { image, size, workDirectory, series, sources, request }, tools, context);
    await image.seal(false);
    await repetition.take(disk, { signal });
    return image.warnings;
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}

async function reinstall(
  first: FirstInstallation,
  change: Change,
  tools: BuildTools,
  context: LimitedContext,
): Promise<void> {
  const { session, facts } = change.image;
  const apt = await openApt(change, tools, context);
  const { specifications, unasked } = repeatInstallation(first, facts.packages, facts.architecture);
  const automatic = specifications.length === 0 ? new Set<string>() : await readAutomatic(session);
  const { packages } = await runInstallation(specifications, apt, change, tools, context);
  const isAutomatic = ({ name, isNew }: (typeof unasked)[number]) => isNew || automatic.has(name);
  await markAutomatic(
    session,
    unasked.filter(isAutomatic).map(({ name }) => name),
  );
  assertRepeated(first, packages, facts.architecture);
}

/** Reports the progress of one part of a step out of so many. Within the part, the figures of several apts follow. */
function partReporter(reporter: BuildReporter, index: number, count: number): BuildReporter {
  let reached = 0;
  return {
    ...reporter,
    progress(current, total, message) {
      if (total !== null && total > 0) reached = Math.max(reached, Math.min(1, current / total));
      reporter.progress(Math.floor(((index + reached) / count) * 1000), 1000, message);
    },
  };
}
