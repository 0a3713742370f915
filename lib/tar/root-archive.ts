import { resolveAcls } from './acl-attributes.ts';
import { attributesOf, sameAttributes } from './attributes.ts';
import type { HeaderForm } from './header.ts';
import { type Member, readMembers } from './members.ts';
import { checkText, type NameStyle, parentOf, plainName } from './names.ts';
import type { PaxRecords } from './pax.ts';
import { corrupt, shown, tooLarge, unsafe } from './refusals.ts';
import type { Region } from './region.ts';
import type { RootEntry } from './root-entry.ts';

/** The form of a whole archive; `pax` is ustar with extended headers. */
export type ArchiveForm = HeaderForm | 'pax';

/** An archive of a root file system that may be unpacked and changed. */
export interface RootArchive {
  /** The beginning of each name, before its path: nothing, `./`, `system/`, `./system/` or `system/./`. */
  readonly prefix: string;
  readonly form: ArchiveForm;
  /** By their paths, which are without the prefix and without a slash at the end, in the order of the archive. */
  readonly entries: ReadonlyMap<string, RootEntry>;
  /** The member above a root file system that lies below `system/`: `./`, where the archive has it. */
  readonly above: RootEntry | null;
  /** Bytes of all files. */
  readonly contentBytes: number;
}

/**
 * `whole` is a root file system. In a `part` of one, folders above members may be missing; so they may in `changes`, whose
 * names are those of the root file system, even where all of them begin with `system/`.
 */
export type ArchiveScope = 'whole' | 'part' | 'changes';

export interface RootLimits {
  readonly maximumEntries: number;
  /** Limit of all names, targets and attributes together, which stay in memory. */
  readonly maximumNameBytes: number;
  readonly scope: ArchiveScope;
  readonly signal: AbortSignal;
}

/** Linux reserves the id 2^32 - 1. */
const maximumId = 2 ** 32 - 2;
/** The kernel has 12 bits for major numbers and 20 for minor ones. */
const [maximumMajor, maximumMinor] = [2 ** 12 - 1, 2 ** 20 - 1];
/** Times of ext4 end in 2446. */
const latestSeconds = 2 ** 34 - 1;

/**
 * Reads the headers of an untrusted archive of a root file system, in one pass. What it lets pass means the same to all
 * programs: each file has one name, its folder comes before it, and nothing leads out. Throws `image.unsafe`,
 * `image.corrupt`, `image.unsupported`, `image.too_large`, `image.truncated`, or the reason of the signal.
 */
export async function readRootArchive(archive: Region, limits: RootLimits): Promise<RootArchive> {
  const survey = new Survey(limits);
  for await (const member of readMembers(archive, limits.signal)) survey.add(member);
  const root = survey.end();
  // Nothing is unpacked of a part, which has no accounts.
  if (limits.scope !== 'part') await resolveAcls(archive, root.entries);
  return root;
}

class Survey {
  readonly #limits: RootLimits;
  readonly #entries = new Map<string, RootEntry>();
  readonly #forms = new Set<ArchiveForm>();
  #style: NameStyle | null = null;
  #nameBytes = 0;
  #contentBytes = 0;

  constructor(limits: RootLimits) {
    this.#limits = limits;
  }

  add(member: Member): void {
    const { maximumEntries, maximumNameBytes } = this.#limits;
    if (this.#entries.size === maximumEntries) throw tooLarge(`it has more than ${maximumEntries} members`);
    const path = this.#place(member);
    const { records, header: _, form, ...rest } = member;
    const attributes = attributesOf(member);
    const target = this.#targetOf(member, attributes);
    checkNumbers(member);
    this.#nameBytes += member.name.length + target.length;
    for (const [keyword, value] of attributes) this.#nameBytes += keyword.length + value.length;
    if (this.#nameBytes > maximumNameBytes) throw tooLarge(`its names have more than ${maximumNameBytes} bytes`);
    this.#contentBytes += member.sizeBytes;
    this.#forms.add(records.size > 0 ? 'pax' : form);
    this.#entries.set(path, { ...rest, target, attributes });
  }

  /** The path of a new member, which lies in a folder that is there already. */
  #place({ name, type }: Member): string {
    const { path, style, hasSlash } = plainName(name);
    if (hasSlash && type !== 'directory') throw corrupt(`${shown(name)} is no folder, and has the name of one`);
    // GNU tar names the root `./` where it was made from `/`, and all else without a dot.
    const hasStyle = path !== '' && path !== 'system';
    if (hasStyle) this.#style ??= style;
    if (hasStyle && style !== this.#style) throw corrupt('it names its members with and without a dot');
    if (this.#entries.has(path)) throw corrupt(`${shown(name)} is there twice`);
    if (path === '' && type !== 'directory') throw corrupt('its root is no folder');
    const parent = parentOf(path);
    const above = this.#entries.get(parent);
    if (above !== undefined && above.type !== 'directory') {
      throw unsafe(`${shown(name)} lies below ${shown(parent)}, which is no folder`);
    }
    // The folder of a whole system has no member of its own where its archive was made from names below it.
    const needsNone =
      this.#limits.scope !== 'whole' || parent === '' || (parent === 'system' && !this.#hasOther(parent));
    if (above === undefined && !needsNone) throw corrupt(`${shown(name)} comes before its folder`);
    return path;
  }

  /** Whether the first member, but for the root of the archive, lies in another folder than this one. */
  #hasOther(folder: string): boolean {
    const first = this.#entries.keys().find((path) => path !== '');
    return first !== undefined && !isWithin(first, folder);
  }

  #targetOf(member: Member, attributes: PaxRecords): string {
    const { name, type, target } = member;
    if (type !== 'symlink' && type !== 'link') {
      if (target !== '') throw corrupt(`${shown(name)} is no link, and has a target`);
      return '';
    }
    if (type === 'symlink') {
      checkText(target);
      if (target === '') throw corrupt(`the link ${shown(name)} has no target`);
      return target;
    }
    const { path, style, hasSlash } = plainName(target);
    const file = this.#entries.get(path);
    if (file?.type !== 'file' || hasSlash) {
      throw unsafe(`${shown(name)} is a hard link to ${shown(target)}, which is no file before it`);
    }
    if (style !== this.#style) throw corrupt('it names its members with and without a dot');
    // Some programs take these from the file, others from the link.
    if (member.mode !== file.mode || member.uid !== file.uid || member.gid !== file.gid) {
      throw corrupt(`${shown(name)} is a hard link to ${shown(target)}, and has another mode or owner`);
    }
    if (attributes.size > 0 && !sameAttributes(attributes, file.attributes)) {
      throw corrupt(`${shown(name)} is a hard link to ${shown(target)}, and has other attributes`);
    }
    return path;
  }

  end(): RootArchive & { readonly entries: Map<string, RootEntry> } {
    const named = [...this.#entries.keys()].filter((path) => path !== '');
    const isBelow = named.length > 0 && named.every((path) => isWithin(path, 'system'));
    const isInside = isBelow && this.#limits.scope !== 'changes';
    const above = (isInside && this.#entries.get('')) || null;
    if (above !== null) this.#entries.delete('');
    const entries = isInside ? withoutFolder(this.#entries, 'system') : this.#entries;
    // An archive of a root alone has the style of that.
    const style = this.#style ?? (this.#entries.get('')?.name.startsWith('./') ? './' : '');
    for (const [path, { type }] of entries) {
      if ((type === 'block' || type === 'character') && !path.startsWith('dev/')) {
        throw unsafe(`the device ${shown(path)} lies outside of dev`);
      }
    }
    return {
      prefix: isInside && style !== 'system/./' ? `${style}system/` : style,
      form: (['pax', 'ustar', 'gnu', 'v7'] as const).find((form) => this.#forms.has(form)) ?? 'pax',
      ...{ entries, above },
      contentBytes: this.#contentBytes,
    };
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** The same entries with paths below this folder, which becomes the root. */
function withoutFolder(entries: ReadonlyMap<string, RootEntry>, folder: string): Map<string, RootEntry> {
  const inside = (path: string) => path.slice(folder.length + 1);
  const result = new Map<string, RootEntry>();
  for (const [path, entry] of entries) {
    result.set(inside(path), entry.type === 'link' ? { ...entry, target: inside(entry.target) } : entry);
  }
  return result;
}

function checkNumbers({ name, type, uid, gid, major, minor, modified }: Member): void {
  if (uid > maximumId || gid > maximumId) throw corrupt(`${shown(name)} has an owner of more than 32 bits`);
  const isDevice = type === 'block' || type === 'character';
  if (isDevice && (major > maximumMajor || minor > maximumMinor)) {
    throw corrupt(`${shown(name)} has a device number that is none`);
  }
  if (modified > latestSeconds) throw corrupt(`${shown(name)} was changed after the year 2446`);
}
