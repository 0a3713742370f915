import fc from 'fast-check';
import { type CraftedMember, craftTar, marks } from './craft.ts';

/** Random file trees, and what becomes of them. */

export interface TreeFile {
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo';
  /** Number of the inode, for files: those of one number are hard links of each other. */
  readonly inode: number;
  readonly target: string;
}

export interface Inode {
  readonly content: string;
  readonly mode: number;
  readonly uid: number;
  readonly attribute: string;
}

export interface Tree {
  readonly files: ReadonlyMap<string, TreeFile>;
  readonly inodes: readonly Inode[];
}

export interface Change {
  readonly before: Tree;
  readonly after: Tree;
  /** Paths that were touched without a change. */
  readonly touched: readonly string[];
}

const long = 'long-'.repeat(22);
const paths = ['a', 'a/b', `a/${long}`, 'a/b/x', 'a/b/y', 'c', `c/${long}`, `c/${long}/z`, 'c/ü', 'd', 'e', 'f'];

const file: fc.Arbitrary<TreeFile | null> = fc.option(
  fc.record({
    type: fc.constantFrom('file', 'file', 'directory', 'directory', 'symlink', 'fifo'),
    inode: fc.nat(3),
    target: fc.constantFrom('a', `../${long}`),
  }),
  { freq: 6 },
);
const inode = fc.record({
  content: fc.constantFrom('', 'one', 'two', 'x'.repeat(513)),
  mode: fc.constantFrom(0o644, 0o4755),
  uid: fc.constantFrom(0, 7, 3_000_000),
  attribute: fc.constantFrom('', 'value'),
});

/** A tree and another one, in which few files differ. */
export const change: fc.Arbitrary<Change> = fc
  .record({
    files: fc.tuple(...paths.map(() => file)),
    inodes: fc.array(inode, { minLength: 4, maxLength: 4 }),
    newFiles: fc.dictionary(fc.nat(paths.length - 1).map(String), file, { maxKeys: 4 }),
    newInodes: fc.dictionary(fc.nat(3).map(String), inode, { maxKeys: 1 }),
    touched: fc.subarray(paths),
  })
  .map(({ files, inodes, newFiles, newInodes, touched }) => ({
    before: { files: treeOf(files), inodes },
    after: {
      files: treeOf(files.map((old, index) => (String(index) in newFiles ? (newFiles[index] ?? null) : old))),
      inodes: inodes.map((old, index) => newInodes[index] ?? old),
    },
    touched,
  }));

/** Those files whose folders are folders. */
function treeOf(files: readonly (TreeFile | null)[]): Map<string, TreeFile> {
  const tree = new Map<string, TreeFile>();
  for (const [index, found] of files.entries()) {
    const path = paths[index] ?? '';
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    if (found !== null && (parent === '' || tree.get(parent)?.type === 'directory')) tree.set(path, found);
  }
  return tree;
}

/** The visible part of a file: hard links by all their names. */
export function describeFile(tree: Tree, path: string, withAttributes: boolean): string {
  const found = tree.files.get(path);
  if (found === undefined) return 'nothing';
  if (found.type === 'symlink') return `symlink ${found.target}`;
  if (found.type !== 'file') return found.type;
  const { content, mode, uid, attribute } = inodeOf(tree, found);
  const names = [...tree.files].filter(([, { type, inode: number }]) => type === 'file' && number === found.inode);
  const shown = withAttributes ? attribute : '';
  return `file ${content} ${mode} ${uid} ${shown} ${names.map(([name]) => name).sort()}`;
}

function inodeOf(tree: Tree, { inode: number }: TreeFile): Inode {
  return tree.inodes[number] ?? { content: '', mode: 0, uid: 0, attribute: '' };
}

/** The paths that a listing by change times has: what differs, what was touched, with all names of each file. */
export function changedPaths({ before, after, touched }: Change): string[] {
  const chosen = new Set(
    [...after.files.keys()].filter(
      (path) => touched.includes(path) || describeFile(before, path, true) !== describeFile(after, path, true),
    ),
  );
  const inodes = new Set([...chosen].map((path) => numberOf(after, path)));
  return [...after.files.keys()].filter((path) => chosen.has(path) || inodes.has(numberOf(after, path)));
}

function numberOf({ files }: Tree, path: string): number | string {
  const found = files.get(path);
  return found?.type === 'file' ? found.inode : path;
}

export interface TreeForm {
  readonly prefix: string;
  readonly form: 'pax' | 'gnu';
  readonly modified: number;
}

/** An archive of these paths of a tree, in their order. */
export function archiveOf(tree: Tree, chosen: readonly string[], { prefix, form, modified }: TreeForm): Buffer {
  const written = new Map<number, string>();
  const members = chosen.flatMap((path): CraftedMember[] => {
    const found = tree.files.get(path);
    if (found === undefined) return [];
    const name = `${prefix}${path}${found.type === 'directory' ? '/' : ''}`;
    const first = found.type === 'file' ? written.get(found.inode) : undefined;
    if (found.type !== 'file') {
      const target = found.type === 'symlink' ? found.target : '';
      return [withLongNames({ name, flag: flags[found.type], target, modified, mode: 0o755 }, form)];
    }
    const { content, mode, uid, attribute } = inodeOf(tree, found);
    const isLarge = uid >= 2 ** 21;
    const records = {
      ...(attribute === '' ? {} : { 'SCHILY.xattr.user.a': attribute }),
      ...(isLarge ? { uid: `${uid}` } : {}),
    };
    const owner = !isLarge ? { uid } : form === 'gnu' ? { bytes: [[108, binary(uid)]] as const } : {};
    const inodeFields = { name, mode, modified, ...owner };
    if (first !== undefined) {
      const link = {
        ...inodeFields,
        records: isLarge ? { uid: `${uid}` } : {},
        flag: '1',
        target: `${prefix}${first}`,
      };
      return [withLongNames(link, form)];
    }
    written.set(found.inode, path);
    return [withLongNames({ ...inodeFields, content, records }, form)];
  });
  const root = withLongNames({ name: prefix, flag: '5' }, form);
  return craftTar(...(prefix === '' ? [] : [root]), ...members);
}

const flags = { directory: '5', symlink: '2', fifo: '6' } as const;

/** GNU's form of numbers that need more than octal digits. */
function binary(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(0x80, 0);
  bytes.writeUInt32BE(value, 4);
  return bytes;
}

/** The member in this form, with the headers that long names need. */
function withLongNames(member: CraftedMember, form: 'pax' | 'gnu'): CraftedMember {
  const { name, target = '', records = {} } = member;
  const [isLong, isLongTarget] = [Buffer.byteLength(name) > 100, Buffer.byteLength(target) > 100];
  if (form === 'pax') {
    const names = { ...(isLong ? { path: name } : {}), ...(isLongTarget ? { linkpath: target } : {}) };
    return { ...member, records: { ...records, ...names } };
  }
  const names = { ...(isLong ? { longName: name } : {}), ...(isLongTarget ? { longTarget: target } : {}) };
  return { ...member, ...names, records: {}, mark: marks.gnu };
}
