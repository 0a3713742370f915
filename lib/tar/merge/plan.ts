import { ImageBuilderError } from '../../errors.ts';
import { endBytes, padded, tarBlockBytes } from '../header.ts';
import { shown } from '../refusals.ts';
import { type NewMember, renderMember } from '../render-member.ts';
import type { RootArchive } from '../root-archive.ts';
import type { RootEntry } from '../root-entry.ts';
import { findHardLinks, type HardLinks } from './hard-links.ts';

/** A part of the new archive: bytes of one of the two others, or new ones. */
export type MergePart =
  | { readonly from: 'base' | 'delta'; readonly start: number; readonly end: number }
  | { readonly from: 'memory'; readonly bytes: Buffer };

export interface MergePlan {
  readonly parts: readonly MergePart[];
  readonly sizeBytes: number;
  /** Paths of the base that have a new member in their place, that are gone, and paths that are new. */
  readonly replaced: ReadonlySet<string>;
  readonly removed: ReadonlySet<string>;
  readonly added: ReadonlySet<string>;
  /** Paths of new members whose attributes or ACLs the form of the base cannot hold. */
  readonly stripped: readonly string[];
  /** The time of members that the build itself has changed, in seconds since 1970. */
  readonly latestSeconds: number;
}

export interface MergeInput {
  readonly base: RootArchive;
  /** Every file that has changed, with all its names. */
  readonly delta: RootArchive;
  /** Paths of the delta that are as in the base: `findSame`. */
  readonly same: ReadonlySet<string>;
  /** Paths of the base that are gone. */
  readonly gone: ReadonlySet<string>;
  /**
   * When the build began to change files, in seconds since 1970. Later times become that of the newest file which is
   * older, so that two builds of the same make the same archive.
   */
  readonly startedSeconds: number;
}

/** GNU tar writes whole records of 20 blocks. */
const recordBytes = 20 * tarBlockBytes;

/**
 * Plans an archive that holds what `base` does, but for the changes: members that stay are copied byte by byte, changed
 * ones stand in their old place, new ones at the end. No name is there twice, and a hard link comes after its file. Throws
 * `image.output` where the changes contradict each other, or `image.too_large`.
 */
export function planMerge(input: MergeInput): MergePlan {
  const { base, delta, same, gone } = input;
  const plan = new Plan(input);
  let above = base.above;
  for (const [path, entry] of base.entries) {
    if (above !== null && above.startAt < entry.startAt) {
      plan.keep('', above);
      above = null;
    }
    const isChanged = delta.entries.has(path) && !same.has(path);
    if (isChanged && gone.has(path)) throw contradiction(path, 'has changed, and is gone');
    if (isChanged) plan.replace(path);
    else if (gone.has(path)) plan.remove(path);
    else plan.keep(path, entry);
  }
  if (above !== null) plan.keep('', above);
  const added = [...delta.entries.keys()].filter((path) => path !== '' && !base.entries.has(path));
  // By their bytes, so that a folder comes before what lies in it.
  for (const path of added.sort(byBytes)) plan.add(path);
  return plan.end();
}

function byBytes(one: string, other: string): number {
  return one < other ? -1 : 1;
}

function contradiction(path: string, what: string): ImageBuilderError {
  return new ImageBuilderError('image.output', `the changes contradict each other: ${shown(path)} ${what}`);
}

class Plan {
  readonly #input: MergeInput;
  readonly #latestSeconds: number;
  readonly #hasSlashes: boolean;
  readonly #links: ReadonlyMap<string, HardLinks>;
  /** The name that has been written with its content, for each file of the delta. */
  readonly #written = new Map<HardLinks, string>();
  readonly #parts: MergePart[] = [];
  readonly #replaced = new Set<string>();
  readonly #removed = new Set<string>();
  readonly #added = new Set<string>();
  readonly #stripped: string[] = [];
  #sizeBytes = 0;

  constructor(input: MergeInput) {
    this.#input = input;
    this.#links = findHardLinks(input.delta.entries);
    this.#latestSeconds = latestOf(input);
    const folder = input.base.entries.entries().find(([path, { type }]) => path !== '' && type === 'directory');
    this.#hasSlashes = folder === undefined || folder[1].name.endsWith('/');
  }

  keep(path: string, { type, target, startAt, endAt }: RootEntry): void {
    if (type === 'link' && (this.#replaced.has(target) || this.#removed.has(target))) {
      throw contradiction(path, `is a hard link to ${shown(target)}, which has changed, and has not`);
    }
    this.#copy('base', startAt, endAt);
  }

  replace(path: string): void {
    this.#replaced.add(path);
    this.#write(path);
  }

  remove(path: string): void {
    this.#removed.add(path);
  }

  add(path: string): void {
    this.#added.add(path);
    this.#write(path);
  }

  end(): MergePlan {
    const wholeBytes = Math.ceil((this.#sizeBytes + endBytes) / recordBytes) * recordBytes;
    this.#push({ from: 'memory', bytes: Buffer.alloc(wholeBytes - this.#sizeBytes) });
    return {
      ...{ parts: this.#parts, sizeBytes: this.#sizeBytes, latestSeconds: this.#latestSeconds },
      ...{ replaced: this.#replaced, removed: this.#removed, added: this.#added, stripped: this.#stripped },
    };
  }

  #write(path: string): void {
    const { base, delta } = this.#input;
    const entry = delta.entries.get(path);
    if (entry === undefined) return;
    const links = this.#links.get(path);
    const first = links === undefined ? undefined : this.#written.get(links);
    if (links !== undefined && first === undefined) this.#written.set(links, path);
    const file = links?.file ?? entry;
    const isLink = first !== undefined;
    const member: NewMember = {
      ...file,
      name: this.#nameOf(path, file),
      type: isLink ? 'link' : file.type,
      target: isLink ? `${base.prefix}${first}` : file.target,
      sizeBytes: isLink ? 0 : file.sizeBytes,
      attributes: isLink ? new Map() : file.attributes,
      modified: this.#timeOf(file),
    };
    if (base.form === 'gnu' && member.attributes.size > 0) this.#stripped.push(path);
    this.#push({ from: 'memory', bytes: renderMember(member, base.form) });
    if (member.sizeBytes > 0) this.#copy('delta', file.contentAt, file.contentAt + padded(file.sizeBytes));
  }

  /** As the base has it; new folders have a slash at the end where those of the base have one. */
  #nameOf(path: string, { type }: RootEntry): string {
    const { base } = this.#input;
    const before = base.entries.get(path);
    const name = `${base.prefix}${path}`;
    if (type !== 'directory') return name;
    if (before?.type === 'directory') return before.name;
    return this.#hasSlashes ? `${name}/` : name;
  }

  #timeOf({ modified }: RootEntry): number {
    const isOfBuild = modified >= this.#input.startedSeconds;
    return Math.floor(isOfBuild ? Math.min(modified, this.#latestSeconds) : modified);
  }

  /** Neighbours of the same archive become one part. */
  #copy(from: 'base' | 'delta', start: number, end: number): void {
    const last = this.#parts.at(-1);
    if (last?.from === from && last.end === start) {
      this.#parts[this.#parts.length - 1] = { from, start: last.start, end };
      this.#sizeBytes += end - start;
    } else this.#push({ from, start, end });
  }

  #push(part: MergePart): void {
    this.#parts.push(part);
    this.#sizeBytes += part.from === 'memory' ? part.bytes.length : part.end - part.start;
  }
}

function latestOf({ base, delta, startedSeconds }: MergeInput): number {
  let latest = 0;
  for (const { modified } of base.entries.values()) latest = Math.max(latest, modified);
  for (const { modified } of delta.entries.values()) if (modified < startedSeconds) latest = Math.max(latest, modified);
  return Math.floor(latest);
}
