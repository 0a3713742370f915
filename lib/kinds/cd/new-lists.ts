import { open, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { hashRanges } from '../../image/hash-ranges.ts';
import { rewrittenFiles } from '../../iso9660/rewritten.ts';
import type { ChecksumAlgorithm } from '../../medium/checksum-lines.ts';
import { updateSourceSizes } from '../../medium/install-sources.ts';
import { updateSize } from '../../medium/lists.ts';
import { type Digests, hashText, readChecksumLists, readList } from './checksum-lists.ts';
import { type HashFile, updateChecksumLists } from './new-checksums.ts';
import type { NewLayer } from './new-layer.ts';
import {
  describes,
  updateDeltaManifest,
  updateFullManifest,
  updateKeptManifest,
  updateRemovedManifest,
} from './new-manifests.ts';
import type { BaseMedium } from './read-medium.ts';
import type { PackagesOf } from './take-changes.ts';

/** Files of the worker by the paths that they get on the medium. */
export type NewFiles = ReadonlyMap<string, string>;

/** The files that a medium gets. */
export interface NewContent {
  readonly files: NewFiles;
  /** The algorithms by which lists name each layer whose data is copied last. */
  readonly layerAlgorithms: ReadonlyMap<string, ReadonlySet<ChecksumAlgorithm>>;
  /**
   * The new texts of the lists that name such layers, and of lists that name these, by their paths. In `files` they have
   * other digests, and the same size. Throws as `updateChecksumLists` does.
   */
  finishLists(layerDigests: ReadonlyMap<string, Digests>): Promise<ReadonlyMap<string, string>>;
}

/** Reads a list of the medium; null where there is none. */
type Read = (path: string) => Promise<string | null>;
/** Notes the new content of a file of the medium. Null and the old content mean no change. */
type Write = (path: string, before: string, after: string | null) => Promise<void>;

/**
 * Writes, beside the new layers in `directory`, all lists of the medium that speak of them: of packages, of sizes, of
 * checksums, of the kernels among them too, and the catalogue of sources. Lines that the change does not concern stay as
 * they are. Resolves with these, the layers and the kernels. The digests of layers whose data is copied last come last, too.
 */
export async function writeNewLists(
  base: BaseMedium,
  layers: readonly NewLayer[],
  kernels: NewFiles,
  directory: string,
  signal: AbortSignal,
): Promise<NewContent> {
  const { files } = base.iso;
  await using medium = await open(base.path, 'r');
  const changed = new Map([...layers.map(({ placed, path }) => [placed.layer, path] as const), ...kernels]);
  const read: Read = (path) => readList(medium, files, path);
  const write: Write = async (path, before, after) => {
    if (after === null || after === before) return;
    const file = join(directory, `list-${changed.size}`);
    await writeFile(file, after, 'latin1');
    changed.set(path, file);
  };
  for (const layer of layers) await writeListsOf(layer, read, write);
  await writeListsOfAll(base, layers, read, write);
  const lists = await readChecksumLists(medium, files);
  const before = new Map(lists.map(({ path, text }) => [path, text]));
  const unfinished = new Set(layers.flatMap(({ placed, data }) => (data === null ? [] : [placed.layer])));
  const [content, layerAlgorithms] = [new Map(changed), new Map<string, ReadonlySet<ChecksumAlgorithm>>()];
  const digests = new Map<string, Digests>();
  const hash: HashFile = async (path, file, algorithms) => {
    if (unfinished.has(path)) layerAlgorithms.set(path, algorithms);
    const found = unfinished.has(path) ? standIns(algorithms) : await hashContent(file, algorithms, signal);
    digests.set(path, found);
    return found;
  };
  const rewritten = rewrittenFiles(base.iso);
  const texts = await updateChecksumLists(lists, files, content, rewritten, hash);
  for (const [path, text] of texts) await write(path, before.get(path) ?? '', text);
  return {
    files: changed,
    layerAlgorithms,
    async finishLists(layerDigests) {
      const known: HashFile = async (path) => layerDigests.get(path) ?? digests.get(path) ?? new Map();
      const finished = await updateChecksumLists(lists, files, content, rewritten, known);
      return new Map([...texts.keys()].map((path) => [path, finished.get(path) ?? before.get(path) ?? '']));
    },
  };
}

async function hashContent(
  path: string,
  algorithms: ReadonlySet<ChecksumAlgorithm>,
  signal: AbortSignal,
): Promise<Digests> {
  await using handle = await open(path, 'r');
  const { size: sizeBytes } = await handle.stat();
  return await hashRanges([{ handle, offsetBytes: 0, sizeBytes }], algorithms, { signal });
}

/** As long as digests are, and those of nothing. */
function standIns(algorithms: ReadonlySet<ChecksumAlgorithm>): Digests {
  return new Map([...algorithms].map((name) => [name, '0'.repeat(hashText('', name).length)]));
}

/**
 * The lists beside one layer, as livecd-rootfs writes them: `.manifest.full` has the packages of the file tree that ends
 * with it, `.manifest` beside that its differences from the one below; `.size` is that of its own files.
 */
async function writeListsOf({ placed, packages, packagesBelow, grownBytes }: NewLayer, read: Read, write: Write) {
  const stem = stemOf(placed.layer);
  const full = await read(`${stem}.manifest.full`);
  if (full !== null) await write(`${stem}.manifest.full`, full, updateFullManifest(full, packages));
  for (const end of ['.manifest', '.packages']) {
    const text = await read(stem + end);
    if (text === null) continue;
    const isDelta = end === '.manifest' && full !== null;
    const updated = isDelta ? updateDeltaManifest(text, packages, packagesBelow) : updateFullManifest(text, packages);
    await write(stem + end, text, updated);
  }
  await writeListsForInstaller(stem, packages, read, write);
  const size = await read(`${stem}.size`);
  if (size !== null) await write(`${stem}.size`, size, updateSize(size, grownBytes));
}

/** The lists by which installers that copy a whole file tree remove packages of the live session from the copy. */
async function writeListsForInstaller(stem: string, packages: PackagesOf, read: Read, write: Write): Promise<void> {
  const kept = await read(`${stem}.manifest-desktop`);
  if (kept !== null) await write(`${stem}.manifest-desktop`, kept, updateKeptManifest(kept, packages));
  for (const end of ['.manifest-remove', '.manifest-minimal-remove', '.packages-remove']) {
    const removed = await read(stem + end);
    if (removed !== null) await write(stem + end, removed, updateRemovedManifest(removed, packages));
  }
}

/** The lists of whole file trees: those called `filesystem`, where no layer is, and the catalogue of sources. */
async function writeListsOfAll(base: BaseMedium, layers: readonly NewLayer[], read: Read, write: Write): Promise<void> {
  const { medium } = base;
  const grownBytes = (tree: readonly string[]) =>
    layers.filter(({ placed }) => tree.includes(placed.layer)).reduce((sum, layer) => sum + layer.grownBytes, 0);
  const treeOf = ({ placed }: NewLayer) => [...placed.below, placed.layer];
  const stem = `${medium.folder}/filesystem`;
  if (!base.iso.files.has(`${stem}.squashfs`)) {
    const manifest = await read(`${stem}.manifest`);
    // livecd-rootfs takes those of the first live session; other media, those of what gets installed.
    const isLive = ({ placed }: NewLayer) =>
      medium.views.some((view) => view.live && view.layers.at(-1) === placed.layer);
    const described =
      layers.find(({ packages }) => manifest !== null && describes(manifest, packages.before)) ?? layers.find(isLive);
    if (described !== undefined) {
      if (manifest !== null) {
        await write(`${stem}.manifest`, manifest, updateFullManifest(manifest, described.packages));
      }
      await writeListsForInstaller(stem, described.packages, read, write);
      const size = await read(`${stem}.size`);
      if (size !== null) await write(`${stem}.size`, size, updateSize(size, grownBytes(treeOf(described))));
    }
  }
  const catalogue = `${medium.folder}/install-sources.yaml`;
  const text = medium.family === 'casper' ? await read(catalogue) : null;
  if (text === null) return;
  const sizes = new Map(layers.map((layer) => [basename(layer.placed.layer), grownBytes(treeOf(layer))]));
  const sizeOf = (path: string, sizeBytes: number) => Math.max(0, sizeBytes + (sizes.get(path) ?? 0));
  await write(
    catalogue,
    text,
    inCharacters(text, (characters) => updateSourceSizes(characters, sizeOf)),
  );
}

function stemOf(layer: string): string {
  return layer.slice(0, -'.squashfs'.length);
}

/** Changes a text whose characters are bytes as UTF-8. */
function inCharacters(bytes: string, change: (text: string) => string): string {
  return Buffer.from(change(Buffer.from(bytes, 'latin1').toString('utf8')), 'utf8').toString('latin1');
}
