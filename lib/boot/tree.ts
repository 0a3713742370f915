import { unescapeOctal } from '../image/octal.js';
import type { Partition } from '../image/partition.ts';

/** The files that boot loaders may read, by partition, as `find` and the mount table of an opened image list them. */

/** A file system of the image that is open. */
export interface BootMount {
  readonly partition: Partition;
  /** The folder of the file system that is seen here: `/`, or that of a subvolume. */
  readonly root: string;
  /** Such as `/boot`. */
  readonly target: string;
}

export interface TreeEntry {
  /** As `find` has it: `f`, `d`, `l`, and others. */
  readonly type: string;
  readonly sizeBytes: number;
  readonly link: string;
}

/** `missing` lies in a listed folder, which does not have it; `unknown` lies where nothing was listed. */
export type Found = { readonly path: string; readonly entry: TreeEntry } | 'missing' | 'unknown';

export interface BootTree {
  readonly mounts: readonly BootMount[];
  /** Names of the plain files and links in a folder, by its path in the image. */
  namesIn(folder: string): readonly string[];
  /** A file by its path in the image, with the links as the running system follows them. */
  find(path: string): Found;
  /** A file by its path on a partition, with the links as a boot loader follows them: on that partition only. */
  findOn(partition: Partition, path: string): Found;
}

const maximumLinks = 40;
/** Folders whose whole content is listed. Of the root, only its own entries are. */
const listed = ['/boot', '/efi'];

/** The mounts of partitions in the text of /proc/self/mountinfo, by the names of devices that assemble.sh gives. */
export function parseBootMounts(mountinfo: string, partitions: readonly Partition[]): BootMount[] {
  const mounts: BootMount[] = [];
  for (const line of mountinfo.split('\n')) {
    const words = line.split(' ');
    const [, , , root = '/', target = '/'] = words;
    const source = words[words.indexOf('-') + 2] ?? '';
    if (!source.startsWith('/dev/image')) continue;
    const number = Number(source.slice('/dev/image'.length));
    const partition = partitions.find((each) => each.number === number);
    if (partition !== undefined) mounts.push({ partition, root: unescapeOctal(root), target: unescapeOctal(target) });
  }
  return mounts;
}

/** Lines `TYPE SIZE PATH LINK`, parted by tabs. */
export function parseTree(listing: string, mounts: readonly BootMount[]): BootTree {
  const entries = new Map<string, TreeEntry>();
  const folders = new Map<string, string[]>();
  for (const line of listing.split('\n')) {
    const [type = '', size = '', path = '', link = ''] = line.split('\t');
    if (!path.startsWith('/')) continue;
    entries.set(path, { type, sizeBytes: Number(size) || 0, link });
    if (type !== 'f' && type !== 'l') continue;
    const [folder, name] = parted(path);
    const names = folders.get(folder);
    if (names === undefined) folders.set(folder, [name]);
    else names.push(name);
  }

  return {
    mounts,
    namesIn: (folder) => folders.get(folder) ?? [],
    find: (path) => follow(entries, '/', path),
    findOn(partition, path) {
      for (const mount of mounts) {
        if (mount.partition !== partition) continue;
        const inside = below(mount.root, path);
        if (inside !== null) return follow(entries, mount.target, inside);
      }
      return 'unknown';
    },
  };
}

/** Follows a path with its links; `bounds` is the folder that counts as the root of absolute ones. */
function follow(entries: ReadonlyMap<string, TreeEntry>, bounds: string, path: string): Found {
  let links = 0;
  let at = bounds;
  const rest = partsOf(path);
  for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
    if (part === '..') {
      at = at === bounds ? at : parted(at)[0];
      continue;
    }
    const next = at === '/' ? `/${part}` : `${at}/${part}`;
    const entry = entries.get(next);
    if (entry === undefined) return at === '/' || isListed(next) ? 'missing' : 'unknown';
    if (entry.type !== 'l') {
      at = next;
      continue;
    }
    links += 1;
    if (links > maximumLinks) return 'missing';
    if (entry.link.startsWith('/')) at = bounds;
    rest.push(...partsOf(entry.link));
  }
  const entry = entries.get(at);
  return entry === undefined ? 'unknown' : { path: at, entry };
}

/** The names in a path, the first one last. */
function partsOf(path: string): string[] {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse();
}

/** The open file system that a path of the image lies on, the innermost one. */
export function mountOf(tree: BootTree, path: string): BootMount | null {
  let found: BootMount | null = null;
  for (const mount of tree.mounts) {
    if (below(mount.target, path) === null) continue;
    if (found === null || mount.target.length >= found.target.length) found = mount;
  }
  return found;
}

/** `path` as seen from `folder`, beginning with a slash; null where it lies outside. */
export function below(folder: string, path: string): string | null {
  if (folder === '/') return path;
  if (path === folder) return '/';
  return path.startsWith(`${folder}/`) ? path.slice(folder.length) : null;
}

/** True for a file that has content. */
export function hasContent(found: Found): boolean {
  return typeof found === 'object' && found.entry.type === 'f' && found.entry.sizeBytes > 0;
}

function isListed(path: string): boolean {
  return listed.some((folder) => path.startsWith(`${folder}/`));
}

function parted(path: string): [folder: string, name: string] {
  const slash = path.lastIndexOf('/');
  return [slash <= 0 ? '/' : path.slice(0, slash), path.slice(slash + 1)];
}
