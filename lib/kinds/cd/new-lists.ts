import { createHash } from 'node:crypto';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isChecksumName } from '../../checksums.ts';
import { readIsoFile } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import {
  type ChecksumAlgorithm,
  checksumAlgorithm,
  type FileChange,
  type PackageChange,
  updateChecksums,
  updateManifest,
  updateSize,
} from '../../medium/lists.ts';
import type { NewLayer } from './new-layer.ts';
import type { InstalledPackages } from './package-status.ts';

/** Files of the worker by the paths that they get on the medium. */
export type NewFiles = ReadonlyMap<string, string>;

/** Lists of checksums of desktop media have some hundred KB. */
const maximumListBytes = 16 * 2 ** 20;
/** Files that writing the medium changes: no list may have their digests. */
const rewritten = /(^|\/)(eltorito\.img|isolinux\.bin|boot\.cat|boot\.catalog)$/;

/**
 * Writes the new layer and, beside it in `directory`, all lists of the medium that speak of it: of packages, of sizes, of
 * checksums. Lines that the change does not concern stay as they are.
 */
export async function writeNewLists(
  mediumPath: string,
  files: IsoTree,
  layerPath: string,
  layer: NewLayer,
  directory: string,
): Promise<NewFiles> {
  await using medium = await open(mediumPath, 'r');
  const changed = new Map([[layerPath, layer.path], ...layer.kernels.files]);
  const write = async (path: string, text: string) => {
    const file = join(directory, `list-${changed.size}`);
    await writeFile(file, text);
    changed.set(path, file);
  };
  const changes = packageChanges(layer.packages);
  for (const path of listsOf(layerPath)) {
    const text = await readText(medium, files, path);
    if (text === null) continue;
    const updated = path.endsWith('.size')
      ? updateSize(text, layer.grownBytes)
      : updateManifest(text, inWordsOf(text, changes));
    if (updated !== null && updated !== text) await write(path, updated);
  }
  for (const path of [...files.keys()].filter((name) => !name.includes('/') && isChecksumName(name))) {
    const text = await readText(medium, files, path);
    const algorithm = text === null ? null : checksumAlgorithm(text);
    if (text === null || algorithm === null) continue;
    const digests: FileChange[] = [...files.keys()]
      .filter((name) => rewritten.test(name))
      .map((name) => ({ path: name, hex: null, isNew: false }));
    for (const [name, file] of changed) {
      digests.push({ path: name, hex: await digest(file, algorithm), isNew: false });
    }
    await write(path, updateChecksums(text, digests));
  }
  return changed;
}

/** The lists that may stand beside a layer. */
function listsOf(layerPath: string): string[] {
  const stem = layerPath.slice(0, -'.squashfs'.length);
  const folder = layerPath.slice(0, -basename(layerPath).length);
  const names = ['.manifest', '.packages', '.size'];
  return [...new Set([stem, `${folder}filesystem`].flatMap((start) => names.map((name) => start + name)))];
}

async function readText(medium: FileHandle, files: IsoTree, path: string): Promise<string | null> {
  const bytes = await readIsoFile(medium, files, path, maximumListBytes);
  return bytes?.toString('latin1') ?? null;
}

interface Change extends PackageChange {
  readonly architecture: string;
}

function packageChanges({ before, after }: NewLayer['packages']): Change[] {
  const changed = (older: InstalledPackages, newer: InstalledPackages) =>
    [...newer].filter(([name, { version }]) => older.get(name)?.version !== version);
  const gone = [...before].filter(([name]) => !after.has(name));
  return [
    ...changed(before, after).map(([name, { version, architecture }]) => ({ name, version, architecture })),
    ...gone.map(([name, { architecture }]) => ({ name, version: null, architecture })),
  ];
}

/** Lists name packages of several architectures with theirs, as dpkg-query does, or without. */
function inWordsOf(text: string, changes: readonly Change[]): PackageChange[] {
  const names = new Set(text.split('\n').map((line) => line.split(/[\t ]/, 1)[0]));
  return changes.map(({ name, version, architecture }) => {
    const qualified = `${name}:${architecture}`;
    return { name: names.has(qualified) ? qualified : name, version };
  });
}

async function digest(path: string, algorithm: ChecksumAlgorithm): Promise<string> {
  const hash = createHash(algorithm);
  await using file = await open(path, 'r');
  for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 2 ** 20 }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}
