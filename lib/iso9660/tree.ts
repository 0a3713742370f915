import type { VolumeDescriptor } from './descriptors.ts';
import { type DirectoryRecord, parseRecord } from './record.ts';
import { checkName, type Owner, type RockRidge, readRockRidge, readSystemUse, type SystemUse } from './rock-ridge.ts';
import { blockBytes, corrupt, type Extent, unsafe, unsupported, type Volume } from './volume.ts';

/** A file, folder or link of a tree. */
export interface IsoEntry {
  readonly type: 'file' | 'folder' | 'link' | 'other';
  readonly sizeBytes: number;
  /** The runs of bytes that hold a file, neighbours joined; a folder's own place. */
  readonly extents: readonly Extent[];
  /** Target of a symbolic link. */
  readonly target: string | null;
  /** A way in which the content differs from the bytes that are stored; null where it does not. */
  readonly encoding: RockRidge['encoding'];
  /** Null without Rock Ridge. */
  readonly owner: Owner | null;
}

/** All entries below the root by their paths, such as `casper/vmlinuz`. */
export type IsoTree = ReadonlyMap<string, IsoEntry>;

export interface ReadTree {
  readonly entries: IsoTree;
  /** True where the names are those of Rock Ridge. */
  readonly rockRidge: boolean;
}

/** The largest media for installation have some 70,000 files. */
const maximumEntries = 200_000;
/** With relocated folders, Rock Ridge has no limit of its own. */
const maximumDepth = 64;
const maximumPathCharacters = 4096;
const maximumFolderBytes = 16 * 2 ** 20;
const maximumSections = 1024;
const typeMask = 0o170000;
const regularType = 0o100000;
const linkType = 0o120000;

interface Folder {
  readonly extent: Extent;
  /** Empty for the root, else with a slash at its end. */
  readonly prefix: string;
  readonly depth: number;
}

/** The facts that all folders of one tree share while it is read. */
interface Walk {
  readonly volume: Volume;
  readonly descriptor: VolumeDescriptor;
  readonly systemUse: SystemUse | null;
  readonly entries: Map<string, IsoEntry>;
  readonly pending: Folder[];
  /** Places of the folders that have been met. */
  readonly seen: Set<number>;
}

/**
 * All files of one tree. `mayGuess` says whether Rock Ridge fields count where the volume does not announce them. The
 * path tables are not read: they repeat the places of the folders. Throws `image.corrupt` for places outside the volume,
 * loops and contradictions, `image.unsafe` for names that leave their folder, and `image.unsupported` beyond the limits.
 * Each folder is read once.
 */
export async function readTree(volume: Volume, descriptor: VolumeDescriptor, mayGuess: boolean): Promise<ReadTree> {
  const { extent } = descriptor.root;
  const root = { extent, prefix: '', depth: 0 };
  checkFolder(volume, root);
  const self = parseRecord(await volume.disk.read(extent.offsetBytes, blockBytes), 0);
  const use = descriptor.tree === 'primary' ? await readSystemUse(volume, self.systemUse) : null;
  const systemUse = use !== null && (use.announced || mayGuess) ? use : null;
  const seen = new Set([extent.offsetBytes]);
  const walk: Walk = { volume, descriptor, systemUse, entries: new Map(), pending: [root], seen };
  for (let folder = walk.pending.pop(); folder !== undefined; folder = walk.pending.pop()) {
    await readFolder(walk, folder);
  }
  return { entries: walk.entries, rockRidge: systemUse !== null };
}

function checkFolder({ sizeBytes }: Volume, { extent, prefix, depth }: Folder): void {
  const where = `the folder /${prefix}`;
  if (extent.sizeBytes === 0 || extent.sizeBytes % blockBytes !== 0) {
    throw corrupt(`${where} has ${extent.sizeBytes} bytes, which are no whole blocks`);
  }
  if (extent.offsetBytes + extent.sizeBytes > sizeBytes) throw corrupt(`${where} lies beyond the end of the volume`);
  if (extent.sizeBytes > maximumFolderBytes) throw unsupported(`${where} has ${extent.sizeBytes} bytes`);
  if (depth > maximumDepth) throw unsupported(`${where} is more than ${maximumDepth} folders deep`);
}

async function readFolder(walk: Walk, folder: Folder): Promise<void> {
  const { volume, entries } = walk;
  const bytes = await volume.disk.read(folder.extent.offsetBytes, folder.extent.sizeBytes);
  let index = 0;
  let sections: DirectoryRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    const blockEnd = at - (at % blockBytes) + blockBytes;
    // A record does not cross the end of its block: zeros fill the rest.
    if (bytes[at] === 0) {
      at = blockEnd;
      continue;
    }
    const record = parseRecord(bytes.subarray(0, blockEnd), at);
    at += record.lengthBytes;
    index += 1;
    if (index <= 2) {
      checkDots(record, folder, index - 1);
      continue;
    }
    const [first] = sections;
    if (first !== undefined && !first.identifier.equals(record.identifier)) {
      throw corrupt(`a file in /${folder.prefix} has only some of its sections`);
    }
    sections.push(record);
    if (sections.length > maximumSections) throw unsupported(`a file has more than ${maximumSections} sections`);
    if (record.hasMore) continue;
    await addEntry(walk, folder, sections, record);
    if (entries.size > maximumEntries) throw unsupported(`it has more than ${maximumEntries} files`);
    sections = [];
  }
  if (index < 2) throw corrupt(`the folder /${folder.prefix} does not name itself and the folder above`);
  if (sections.length > 0) throw corrupt(`a file in /${folder.prefix} has only some of its sections`);
}

/** The first two records are those of the folder itself and of the folder above. */
function checkDots(record: DirectoryRecord, { extent, prefix }: Folder, expected: number): void {
  const { identifier } = record;
  if (identifier.length !== 1 || identifier[0] !== expected || !record.isFolder) {
    throw corrupt(`the folder /${prefix} does not name itself and the folder above`);
  }
  if (expected === 0 && record.extent.offsetBytes !== extent.offsetBytes) {
    throw corrupt(`the folder /${prefix} says that it is in another place`);
  }
}

const noFields: RockRidge = {
  ...{ name: null, owner: null, target: null, childBlock: null, isRelocated: false, encoding: null },
};

async function addEntry(
  walk: Walk,
  folder: Folder,
  sections: readonly DirectoryRecord[],
  record: DirectoryRecord,
): Promise<void> {
  const { volume, systemUse, entries } = walk;
  const fields =
    systemUse === null ? noFields : await readRockRidge(volume, record.systemUse.subarray(systemUse.skipBytes));
  if (fields.isRelocated) return;
  const path = folder.prefix + (fields.name ?? plainName(record, walk.descriptor.tree));
  if (path.length > maximumPathCharacters) throw unsupported(`a path has ${path.length} characters`);
  if (entries.has(path)) throw corrupt(`there are two files /${path}`);
  const { target, encoding, owner } = fields;
  if (record.isFolder || fields.childBlock !== null) {
    if (sections.length > 1) throw corrupt(`the folder /${path} has several sections`);
    const extent =
      fields.childBlock === null ? record.extent : await relocated(volume, fields.childBlock * blockBytes, path);
    const child = { extent, prefix: `${path}/`, depth: folder.depth + 1 };
    checkFolder(volume, child);
    if (walk.seen.has(extent.offsetBytes)) throw corrupt(`the folder /${path} is in two places, or within itself`);
    walk.seen.add(extent.offsetBytes);
    walk.pending.push(child);
    const { sizeBytes } = extent;
    entries.set(path, { type: 'folder', sizeBytes, extents: [extent], target: null, encoding: null, owner });
    return;
  }
  const extents = joinSections(volume, sections, path);
  const sizeBytes = extents.reduce((sum, extent) => sum + extent.sizeBytes, 0);
  entries.set(path, { type: typeOf(fields), sizeBytes, extents, target, encoding, owner });
}

/** A relocated folder has its size in its own first record. */
async function relocated({ disk, sizeBytes }: Volume, offsetBytes: number, path: string): Promise<Extent> {
  if (offsetBytes + blockBytes > sizeBytes) throw corrupt(`the folder /${path} lies beyond the end of the volume`);
  return { offsetBytes, sizeBytes: parseRecord(await disk.read(offsetBytes, blockBytes), 0).extent.sizeBytes };
}

function joinSections({ sizeBytes }: Volume, sections: readonly DirectoryRecord[], path: string): Extent[] {
  const extents: Extent[] = [];
  for (const [index, { extent }] of sections.entries()) {
    // The place of an empty file means nothing.
    if (extent.sizeBytes === 0) continue;
    if (extent.offsetBytes + extent.sizeBytes > sizeBytes) {
      throw corrupt(`the file /${path} lies beyond the end of the volume`);
    }
    if (index < sections.length - 1 && extent.sizeBytes % blockBytes !== 0) {
      throw corrupt(`a section of the file /${path} has no whole blocks`);
    }
    const before = extents.at(-1);
    if (before !== undefined && before.offsetBytes + before.sizeBytes === extent.offsetBytes) {
      extents[extents.length - 1] = { ...before, sizeBytes: before.sizeBytes + extent.sizeBytes };
    } else {
      extents.push(extent);
    }
  }
  return extents;
}

function typeOf({ owner, target }: RockRidge): IsoEntry['type'] {
  if (target !== null) return 'link';
  const type = (owner?.mode ?? regularType) & typeMask;
  if (type === linkType) throw corrupt('a symbolic link has no target');
  return type === regularType || type === 0 ? 'file' : 'other';
}

/** The name without its version, in lower case where only capitals can be stored: as Linux shows it. */
function plainName({ identifier }: DirectoryRecord, tree: VolumeDescriptor['tree']): string {
  if (tree !== 'joliet') {
    const name = withoutVersion(identifier.toString('latin1'));
    const shown = tree === 'enhanced' ? name : name.toLowerCase();
    return checkName(Buffer.from(shown.length > 1 && shown.endsWith('.') ? shown.slice(0, -1) : shown, 'latin1'));
  }
  if (identifier.length % 2 !== 0) throw corrupt('a Joliet name has half a character');
  return checkName(Buffer.from(withoutVersion(Buffer.from(identifier).swap16().toString('utf16le')), 'utf8'));
}

function withoutVersion(name: string): string {
  const place = name.lastIndexOf(';');
  return place > 0 && /^[0-9]{1,5}$/.test(name.slice(place + 1)) ? name.slice(0, place) : name;
}

/**
 * Throws `image.unsafe` where files that share bytes without being the same claim more than the image holds: a tool that
 * copies each would write without end.
 */
export function checkClaims(trees: readonly IsoTree[], fileSizeBytes: number): void {
  const sizes = new Map<string, number>();
  for (const entry of trees.flatMap((tree) => [...tree.values()])) {
    for (const { offsetBytes, sizeBytes } of entry.extents) sizes.set(`${offsetBytes} ${sizeBytes}`, sizeBytes);
  }
  const claimedBytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  if (claimedBytes > 2 * fileSizeBytes) {
    throw unsafe(`its files claim ${claimedBytes} bytes of a file that has ${fileSizeBytes}`);
  }
}
