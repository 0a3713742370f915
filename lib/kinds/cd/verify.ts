import { type FileHandle, open } from 'node:fs/promises';
import type { CommonRun } from '../../common-run.ts';
import { ImageBuilderError, messageOf } from '../../errors.ts';
import { checksumAlgorithms, checksumsOf, type FileDigests } from '../../image/digest.ts';
import { hashRanges } from '../../image/hash-ranges.ts';
import { compareIso } from '../../iso9660/compare.ts';
import { followPath } from '../../iso9660/follow.ts';
import type { IsoInspection } from '../../iso9660/inspect.ts';
import { runOf } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { listedFiles } from '../../medium/checksum-lines.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import type { OnProgress } from '../../store/artifact.ts';
import { algorithmsOf, type Digests, readChecksumLists } from './checksum-lists.ts';
import { createKnownLayers } from './known-layers.ts';
import { checkLayerRests, type SplicedLayers, sameLayerData } from './layer-data.ts';
import type { BootedKernel } from './new-kernel.ts';
import { openLayers } from './open-layers.ts';
import { type InstalledPackages, readPackages } from './package-status.ts';
import type { BaseMedium } from './read-medium.ts';
import type { LayerDelta } from './take-changes.ts';
import { checkBootedKernels } from './verify-kernels.ts';

/** A medium before the change, and what was changed. */
export interface ChangedMedium {
  readonly base: Pick<BaseMedium, 'path' | 'iso'>;
  /** Paths of all files with new content, the layers among them. */
  readonly changed: ReadonlySet<string>;
  /** Of these, the layers with the data of the base. */
  readonly spliced: SplicedLayers;
  /** The digests that the lists have of these. */
  readonly layerDigests: ReadonlyMap<string, Digests>;
  /** The changes of all layers, the first that of the source. */
  readonly deltas: readonly Pick<LayerDelta, 'placed' | 'packages'>[];
  readonly booted: readonly BootedKernel[];
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
}

/**
 * Size and digests of a new medium, and the long runs of bytes that it has in common with its base. Throws `image.output`
 * unless the new medium is as sound as its base, differs from it in the changed files alone, boots in the same ways, has
 * the data of the base in its new layers, lists the right digests of the changed files, and has the packages of the change
 * in every file tree that gets them; or the reason of the signal.
 */
export async function verifyMedium(
  path: string,
  change: ChangedMedium,
  limits: SquashfsLimits,
  onProgress: OnProgress,
): Promise<FileDigests & { readonly sharedWithBase: readonly CommonRun[] }> {
  const { base, changed, spliced } = change;
  const { signal } = limits;
  try {
    const { made, digests, shared } = await compareIso({
      ...{ basePath: base.path, base: base.iso, newPath: path, changed, signal, onProgress },
      ...{ algorithms: checksumAlgorithms, maximumBytes: Number.MAX_SAFE_INTEGER },
      alsoSame: ({ files }) => sameLayerData(files, spliced),
    });
    await using handle = await open(path, 'r');
    await checkLayerRests(handle, made.files, spliced, signal);
    await checkDigests(handle, made, change, signal);
    await checkLayers(path, made, change, limits);
    await checkBootedKernels(handle, made.files, change.booted, { ...limits, workDirectory: change.workDirectory });
    return { sizeBytes: made.fileSizeBytes, checksums: checksumsOf(digests), sharedWithBase: shared };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ImageBuilderError && error.code === 'image.output') throw error;
    throw new ImageBuilderError('image.output', `the new medium is damaged: ${messageOf(error)}`, { cause: error });
  }
}

/** A line of a list, the file that it names, and whether its digest is right. */
interface CheckedLine {
  readonly list: string;
  readonly path: string;
  readonly isRight: boolean;
}

/**
 * The lines of files that have not changed are those of the base. Spliced layers are as they were when their digests were
 * computed. A list may have had a wrong digest of another list there, and keeps it.
 */
async function checkDigests(
  handle: FileHandle,
  { files }: IsoInspection,
  { base, changed, layerDigests }: ChangedMedium,
  signal: AbortSignal,
): Promise<void> {
  const wrong = (await checkLines(handle, files, changed, layerDigests, signal)).filter(({ isRight }) => !isRight);
  if (wrong.length === 0) return;
  await using old = await open(base.path, 'r');
  const lists = new Set(wrong.map(({ path }) => path));
  const before = (await checkLines(old, base.iso.files, lists, new Map(), signal)).filter(({ isRight }) => !isRight);
  const allowed = new Set(before.map(({ list, path }) => `${list}\n${path}`));
  const isList = new Set((await readChecksumLists(handle, files)).map(({ path }) => path));
  const fault = wrong.find(({ list, path }) => !isList.has(path) || !allowed.has(`${list}\n${path}`));
  if (fault === undefined) return;
  throw new ImageBuilderError('image.output', `/${fault.list} of the new medium has a wrong digest of /${fault.path}`);
}

/** All lines of the lists of a medium that name one of these files. */
async function checkLines(
  handle: FileHandle,
  files: IsoTree,
  wanted: ReadonlySet<string>,
  known: ReadonlyMap<string, Digests>,
  signal: AbortSignal,
): Promise<CheckedLine[]> {
  const lines = (await readChecksumLists(handle, files)).flatMap((list) =>
    listedFiles(list, (path) => followPath(files, path))
      .filter(({ path }) => wanted.has(path))
      .map((line) => ({ list: list.path, ...line })),
  );
  const right = new Set<string>();
  for (const [path, algorithms] of algorithmsOf(lines)) {
    const ranges = (files.get(path)?.extents ?? []).map((extent) => ({ handle, ...extent }));
    const digests = known.get(path) ?? (await hashRanges(ranges, algorithms, { signal }));
    for (const hex of digests.values()) right.add(`${path}\n${hex}`);
  }
  return lines.map(({ list, path, hex }) => ({ list, path, isRight: right.has(`${path}\n${hex}`) }));
}

/** Every changed layer is sound, and dpkg's list of packages is right in the file tree that ends with it. */
async function checkLayers(
  path: string,
  { files }: IsoInspection,
  { deltas }: ChangedMedium,
  limits: SquashfsLimits,
): Promise<void> {
  const [first] = deltas;
  const known = createKnownLayers(path, limits.maximumTableBytes / 2);
  for (const { placed, packages } of deltas) {
    const tree = [...placed.below, placed.layer].map((layer) => ({ path, ...runOf(files, layer) }));
    await using opened = await openLayers(tree, limits, known);
    const found = await readPackages(opened.layers);
    const wrong =
      firstDifference(found, packages.after) ?? (first === undefined ? null : strange(first.packages, packages));
    if (wrong === null) continue;
    throw new ImageBuilderError(
      'image.output',
      `dpkg's list in /${placed.layer} of the new medium is not as the change has left it: ${wrong}`,
    );
  }
}

function firstDifference(one: InstalledPackages, other: InstalledPackages): string | null {
  const differs = (name: string) => one.get(name)?.version !== other.get(name)?.version;
  return [...one.keys(), ...other.keys()].find(differs) ?? null;
}

/**
 * A package that the change has brought to another version in the layer of the source, and not in this one; null where
 * there is none. One that stayed as it was is newer here, as the installation has made sure.
 */
function strange(source: LayerDelta['packages'], here: LayerDelta['packages']): string | null {
  for (const [name, { version }] of source.after) {
    if (source.before.get(name)?.version === version) continue;
    const now = here.after.get(name)?.version;
    if (now !== version && (now === undefined || now !== here.before.get(name)?.version)) return name;
  }
  return null;
}
