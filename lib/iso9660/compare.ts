import { type FileHandle, open } from 'node:fs/promises';
import type { CommonRun } from '../common-run.ts';
import { ImageBuilderError } from '../errors.ts';
import { areEqual, type FileRange, sliceRanges } from '../image/copy-range.ts';
import { hashRanges } from '../image/hash-ranges.ts';
import { isEsp, type TableEntry } from '../image/partition.ts';
import { readAt } from '../image/read-at.ts';
import { createByteComparison, type SameBytes, sharedRuns } from './compare-bytes.ts';
import { type IsoInspection, inspectIso } from './inspect.ts';
import { isRewritten } from './rewritten.ts';
import type { IsoEntry } from './tree.ts';
import { type Extent, shown } from './volume.ts';

export interface CompareOptions {
  readonly basePath: string;
  readonly base: IsoInspection;
  readonly newPath: string;
  /** Paths of the files whose content is another, and of those that the base has not. */
  readonly changed: ReadonlySet<string>;
  /** Further bytes of the new medium, of which the inspection is given, that must be those of the base. */
  readonly alsoSame?: (made: IsoInspection) => readonly SameBytes[];
  /** The digests that are wanted of the new medium. */
  readonly algorithms?: ReadonlySet<string>;
  readonly maximumBytes: number;
  readonly signal: AbortSignal;
  /** Called with the bytes of the new medium that have been read, and with all of them. */
  readonly onProgress?: (currentBytes: number, totalBytes: number) => void;
}

/** The inspection of a new medium, its digests, and the long runs of bytes that were found to be those of the base. */
export interface ComparedIso {
  readonly made: IsoInspection;
  readonly digests: ReadonlyMap<string, string>;
  readonly shared: readonly CommonRun[];
}

interface Side {
  readonly handle: FileHandle;
  readonly iso: IsoInspection;
}

/** Less than the 64 of Joliet: a shortened name has a number at its end, and keeps its suffix. */
const shortenedCharacters = 56;
/** Code of the MBR before the block address that GRUB and isolinux keep there. */
const bootCodeBytes = 432;
/** Block addresses in boot images: the boot information table, and that of GRUB 2 (grub-core/boot/i386/pc/cdboot.S). */
const patched: readonly Extent[] = [
  { offsetBytes: 8, sizeBytes: 56 },
  { offsetBytes: 2548, sizeBytes: 8 },
];
/** All of these lie here. */
const headBytes = 4096;

/**
 * Inspects a new medium as strictly as a base, and compares it with the base byte by byte: all but the changed files, and
 * the boot equipment, are the same, but for the places of blocks. Reads the new medium once, for this and for its digests,
 * and of the base what must be the same. Throws `image.output` with a difference, the errors of `inspectIso`, or the reason
 * of the signal.
 */
export async function compareIso(options: CompareOptions): Promise<ComparedIso> {
  const { basePath, base, newPath, changed, maximumBytes, signal, onProgress } = options;
  await using baseHandle = await open(basePath, 'r');
  await using newHandle = await open(newPath, 'r');
  const made = await inspectIso(newHandle, { maximumBytes, signal });
  const before: Side = { handle: baseHandle, iso: base };
  const after: Side = { handle: newHandle, iso: made };
  checkFacts(base, made);
  checkNames(base, made, changed);
  checkJoliet(base, made);
  await checkBoot(before, after, changed, signal);
  const same = [...sameFiles(base, made, changed), ...sameBootRuns(base, made), ...(options.alsoSame?.(made) ?? [])];
  const comparison = createByteComparison(baseHandle, same);
  const { fileSizeBytes: sizeBytes } = made;
  const digests = await hashRanges(
    [{ handle: newHandle, offsetBytes: 0, sizeBytes }],
    options.algorithms ?? new Set<string>(),
    {
      signal,
      async onChunk(chunk, atBytes) {
        await comparison.check(chunk, atBytes);
        onProgress?.(atBytes + chunk.length, sizeBytes);
      },
    },
  );
  return { made, digests, shared: sharedRuns(same) };
}

/** Throws where a fact of the volume differs. */
function checkFacts(base: IsoInspection, made: IsoInspection): void {
  for (const fact of ['volumeId', 'uuid', 'names'] as const) {
    if (base[fact] !== made[fact]) throw differs(`its ${fact} is ${made[fact]}, not ${base[fact]}`);
  }
  for (const tree of ['joliet', 'enhanced'] as const) {
    if ((base.trees[tree] === null) !== (made.trees[tree] === null)) throw differs(`it has another ${tree} tree`);
  }
}

/** Throws where a file is missing or was added, or where its type, owner or target differ. */
function checkNames(base: IsoInspection, made: IsoInspection, changed: ReadonlySet<string>): void {
  for (const [path, entry] of base.files) {
    const other = made.files.get(path);
    if (other === undefined) throw differs(`/${path} is missing`);
    if (entry.type !== other.type || entry.target !== other.target || entry.encoding !== other.encoding) {
      throw differs(`/${path} is of another type`);
    }
    if (JSON.stringify(entry.owner) !== JSON.stringify(other.owner))
      throw differs(`/${path} has another owner or mode`);
  }
  for (const path of changed) {
    if (made.files.get(path)?.type !== 'file') throw differs(`/${path} is missing`);
  }
  const added = (path: string) => changed.has(path) || [...changed].some((file) => file.startsWith(`${path}/`));
  for (const [path, { owner }] of made.files) {
    if (base.files.has(path)) continue;
    if (!added(path)) throw differs(`/${path} was added`);
    if (owner?.uid !== 0 || owner.gid !== 0) throw differs(`/${path} does not belong to root`);
  }
}

/** Throws where the Joliet tree has other files than the base's, or than that of Rock Ridge. */
function checkJoliet(base: IsoInspection, made: IsoInspection): void {
  const joliet = made.trees.joliet;
  for (const [path, { type }] of base.trees.joliet ?? []) {
    if (!isShortened(path) && joliet?.get(path)?.type !== type) throw differs(`/${path} of the Joliet tree is missing`);
  }
  for (const [path, entry] of joliet ?? []) {
    const other = made.files.get(path);
    const isKnown = base.trees.joliet?.has(path) === true || other !== undefined || isShortened(path);
    if (!isKnown) throw differs(`/${path} was added to the Joliet tree`);
    if (entry.type === 'file' && other?.type === 'file' && !samePlace(entry, other)) {
      throw differs(`/${path} of the Joliet tree is another file`);
    }
  }
}

/** Each program that makes media shortens long names for Joliet in its own way. */
function isShortened(path: string): boolean {
  return path.split('/').some((name) => name.length >= shortenedCharacters);
}

function samePlace(one: IsoEntry, other: IsoEntry): boolean {
  return JSON.stringify(one.extents) === JSON.stringify(other.extents);
}

/** The content of the files that have not changed, but for boot images with addresses in them, and El Torito's catalogue. */
function* sameFiles(base: IsoInspection, made: IsoInspection, changed: ReadonlySet<string>): Generator<SameBytes> {
  for (const [path, { type, extents }] of made.files) {
    const old = base.files.get(path)?.extents;
    if (type !== 'file' || changed.has(path) || old === undefined) continue;
    const [first] = old;
    if (first !== undefined && isRewritten(base, first.offsetBytes)) continue;
    yield { base: old, made: extents, fault: difference(otherContent(path)) };
  }
}

function otherContent(path: string): string {
  return `/${path} has other content`;
}

/** Throws where the machine would start from anything else. */
async function checkBoot(before: Side, after: Side, changed: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
  const shown = ({ iso }: Side) => ({
    entries: iso.boot.entries.map(({ offsetBytes: _, ...entry }) => entry),
    mbr: iso.boot.mbr?.map(describe) ?? null,
    gpt: iso.boot.gpt?.map(describe) ?? null,
  });
  if (JSON.stringify(shown(before)) !== JSON.stringify(shown(after))) throw differs('it has other boot equipment');
  const codes = [before, after].map(({ handle }) => readAt(handle, 0, bootCodeBytes));
  const [code, otherCode] = await Promise.all(codes);
  if (code === undefined || otherCode?.equals(code) !== true) throw differs('its MBR has other code');
  for (const [path, { type, extents }] of after.iso.files) {
    const old = before.iso.files.get(path)?.extents ?? [];
    const place = old[0]?.offsetBytes;
    if (type !== 'file' || changed.has(path) || place === undefined || !isRewritten(before.iso, place)) continue;
    if (place === before.iso.boot.catalogueOffsetBytes) continue;
    const isSame = await isSameBootImage(rangesOf(before, old), rangesOf(after, extents), signal);
    if (!isSame) throw differs(otherContent(path));
  }
}

/** The content of EFI system partitions, and of those behind all files. */
function sameBootRuns(base: IsoInspection, made: IsoInspection): SameBytes[] {
  const [runs, partitions] = [bootRuns(made), appendedPartitions(made)];
  const fault = difference('its EFI system partition has other content');
  return [
    ...bootRuns(base).map((run, index) => ({ base: [run], made: runs.slice(index, index + 1), fault })),
    ...appendedPartitions(base).map((partition, index) => ({
      ...{ base: [partition], made: partitions.slice(index, index + 1) },
      fault: difference(`its partition ${partition.number} has other content`),
    })),
  ];
}

/** Types and names stay; sizes stay where the partition is not the medium itself. */
function describe(entry: TableEntry): unknown {
  return { number: entry.number, type: entry.type, name: entry.name, size: isEsp(entry) ? entry.sizeBytes : null };
}

/** Images of UEFI, in files or appended, as far as their sizes are known, in the same order for each medium. */
function bootRuns({ boot }: IsoInspection): Extent[] {
  const images = boot.entries.filter(({ platform, loadedBytes }) => platform === 'uefi' && loadedBytes > 0);
  return [
    ...images.map(({ offsetBytes, loadedBytes }) => ({ offsetBytes, sizeBytes: loadedBytes })),
    ...[...(boot.mbr ?? []), ...(boot.gpt ?? [])].filter(isEsp),
  ];
}

/** Name that xorriso gives to the filling between the partitions of a GPT, and behind them. */
const filling = /^Gap\d/;

/** Partitions behind all files, such as one for the data of the live session, in the same order for each medium. */
function appendedPartitions({ boot, trees }: IsoInspection): TableEntry[] {
  const places = Object.values(trees).flatMap((tree) => [...(tree?.values() ?? [])].flatMap(({ extents }) => extents));
  const end = places.reduce((last, { offsetBytes, sizeBytes }) => Math.max(last, offsetBytes + sizeBytes), 0);
  const partitions = boot.gpt !== null && boot.gpt.length > 0 ? boot.gpt : (boot.mbr ?? []);
  return partitions.filter(({ offsetBytes, name }) => offsetBytes >= end && !filling.test(name ?? ''));
}

function rangesOf({ handle }: Side, extents: readonly Extent[]): FileRange[] {
  return extents.map((extent) => ({ handle, ...extent }));
}

/** Whether two boot images are the same but for the block addresses in them. */
async function isSameBootImage(
  one: readonly FileRange[],
  other: readonly FileRange[],
  signal: AbortSignal,
): Promise<boolean> {
  const [head, otherHead] = await Promise.all([one, other].map(readHead));
  if (head === undefined || otherHead?.equals(head) !== true) return false;
  const tail = (ranges: readonly FileRange[]) => sliceRanges(ranges, headBytes, Number.POSITIVE_INFINITY);
  return await areEqual(tail(one), tail(other), signal);
}

/** The first bytes, with zeros where the block addresses are. */
async function readHead(ranges: readonly FileRange[]): Promise<Buffer> {
  const parts = sliceRanges(ranges, 0, headBytes).map(({ handle, offsetBytes, sizeBytes }) =>
    readAt(handle, offsetBytes, sizeBytes),
  );
  const head = Buffer.concat(await Promise.all(parts));
  for (const { offsetBytes, sizeBytes } of patched) head.fill(0, offsetBytes, offsetBytes + sizeBytes);
  return head;
}

function difference(what: string): string {
  return `the new medium differs from its base: ${shown(what)}`;
}

function differs(what: string): ImageBuilderError {
  return new ImageBuilderError('image.output', difference(what));
}
