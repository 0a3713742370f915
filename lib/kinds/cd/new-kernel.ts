import { open, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { Squashfs, SquashfsLimits } from '../../squashfs/open.ts';
import { createView, type LayerView } from '../../squashfs/thin/view.ts';
import { chooseKernels, type SystemKernel } from './choose-kernel.ts';
import { compareKernels, type KernelFiles, kernelsIn, linkedKernel } from './live-system.ts';
import { type MediumKernel, readMediumKernels } from './medium-kernels.ts';
import { type ReplaceOptions, replaceKernel } from './replace-kernel.ts';

/** The kernels that a medium boots, after a change of its live systems. */

/** A live system of a medium. */
export interface LiveSystem {
  /** File name of its uppermost layer: casper's initial ramdisk names it. */
  readonly topLayer: string;
  /** Its layers as they were, and as they are now; the lowest first. A layer that is the same is in both. */
  readonly before: readonly Squashfs[];
  readonly after: readonly Squashfs[];
}

export interface NewKernelOptions {
  readonly mediumPath: string;
  /** The files of the medium. */
  readonly files: IsoTree;
  /** The live systems; the last is that of initial ramdisks that name none. */
  readonly systems: readonly LiveSystem[];
  /** An existing folder that only this build uses. */
  readonly directory: string;
  readonly limits: SquashfsLimits;
}

export interface NewKernels {
  /** Files of the worker by the paths that they get on the medium; empty where it goes on booting what it has. */
  readonly files: ReadonlyMap<string, string>;
  readonly booted: readonly BootedKernel[];
  /** Lines for the log of the build. */
  readonly lines: readonly string[];
  /** News for the result: reasons why the medium boots another kernel than its live system has. */
  readonly warnings: readonly string[];
}

/** A kernel that the new medium boots. */
export interface BootedKernel {
  readonly version: string;
  /** Paths on the medium. */
  readonly kernels: readonly string[];
  readonly initrds: readonly string[];
}

/** A live system, and what the change has done to its kernels. */
interface Changed {
  readonly topLayer: string;
  readonly views: { readonly viewBefore: LayerView; readonly view: LayerView };
  readonly before: ReadonlyMap<string, KernelFiles>;
  readonly after: ReadonlyMap<string, KernelFiles>;
  readonly kernels: readonly SystemKernel[];
  /** Versions that the packages have removed. */
  readonly gone: readonly string[];
}

/**
 * Writes kernel and initial ramdisk of a live system to `directory` where the change has brought new ones that the medium
 * can boot, with the id by which casper and live-boot know their medium: all of a kernel's files, or none. Throws
 * `image.corrupt`, `disk.full`, `tool.failed`, or the reason of the signal.
 */
export async function writeNewKernels(options: NewKernelOptions): Promise<NewKernels> {
  const { mediumPath, files, directory, limits } = options;
  const systems: Changed[] = [];
  for (const system of options.systems) systems.push(await findChanges(system, limits));
  const isUnchanged = systems.every(
    ({ kernels, gone }) => gone.length === 0 && !kernels.some((each) => each.isChanged),
  );
  const result: Outcome = { files: new Map(), booted: [], lines: [], warnings: new Set() };
  if (!isUnchanged) {
    const used = new Set<string>();
    await using medium = await open(mediumPath, 'r');
    const known = new Map(systems.flatMap(({ before }) => [...before].map(([name, { kernel }]) => [name, kernel])));
    const onMedium = await readMediumKernels(medium, files, { limits, directory, known });
    for (const system of systems) {
      const own = onMedium.filter(({ topLayer }) => systemOf(topLayer, systems) === system);
      const chosen = await replaceKernels(own, system, { medium, files, directory, limits }, result);
      for (const version of chosen) used.add(version);
    }
    const why = onMedium.length === 0 ? ': its boot menus start no kernel of a live system that is known here' : '';
    for (const { isNew, version } of systems.flatMap(({ kernels }) => kernels)) {
      if (!isNew || used.has(version)) continue;
      result.warnings.add(`the new kernel ${version} is none that the medium boots${why}`);
    }
  }
  return { ...result, warnings: [...result.warnings] };
}

interface Outcome {
  readonly files: Map<string, string>;
  readonly booted: BootedKernel[];
  readonly lines: string[];
  /** Systems of one medium give the same ones. */
  readonly warnings: Set<string>;
}

/**
 * Adds to the outcome what becomes of the kernels by which a medium boots one of its systems. Resolves with the versions
 * that are, or would have been, put in their place.
 */
async function replaceKernels(
  onMedium: readonly MediumKernel[],
  system: Changed,
  options: Pick<ReplaceOptions, 'medium' | 'files' | 'directory' | 'limits'>,
  { files, booted, lines, warnings }: Outcome,
): Promise<Iterable<string>> {
  const { views, after, kernels, gone } = system;
  const chosen = chooseKernels(
    onMedium.map(({ version }) => version),
    kernels,
    linkedKernel(views.view),
  );
  for (const old of onMedium) {
    const version = chosen.get(old.version);
    const replacement = version === undefined ? undefined : after.get(version);
    if (version !== undefined && replacement !== undefined) {
      const place = join(options.directory, `boot-${files.size}`);
      const outcome = await replaceKernel(old, version, replacement, { ...options, ...views, place });
      if (typeof outcome !== 'string') {
        for (const [path, file] of outcome.files) files.set(path, file);
        booted.push({ version, kernels: old.kernels, initrds: old.initrds });
        lines.push(`the medium boots the kernel ${version} of its new live system`);
        for (const warning of outcome.warnings) warnings.add(warning);
        continue;
      }
      for (const name of ['kernel', 'initrd']) await rm(`${place}-${name}`, { force: true });
      warnings.add(`the medium goes on booting the kernel that it has, ${nameOf(old)}: ${outcome}`);
    }
    if (old.version !== null && gone.includes(old.version)) {
      warnings.add(`the medium boots the kernel ${nameOf(old)}, which the packages have removed from its live system`);
    }
  }
  return chosen.values();
}

async function findChanges(system: LiveSystem, limits: SquashfsLimits): Promise<Changed> {
  const views = { viewBefore: createView(system.before), view: createView(system.after) };
  const [before, after] = [kernelsIn(views.viewBefore), kernelsIn(views.view)];
  const kernels = await compareKernels(before, after, limits);
  const gone = [...before.keys()].filter((version) => !after.has(version));
  return { topLayer: system.topLayer, views, before, after, kernels, gone };
}

/** casper takes the path of a layer, too. */
function systemOf(topLayer: string | null, systems: readonly Changed[]): Changed | undefined {
  return topLayer === null ? systems.at(-1) : systems.find((system) => system.topLayer === basename(topLayer));
}

function nameOf({ version, kernels }: MediumKernel): string {
  return version ?? `/${kernels[0]}`;
}
