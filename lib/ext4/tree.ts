import { corrupt, type TreeMember, unsupported } from './member.ts';

/** A file or folder, and its number in the file system. */
export interface Node {
  readonly number: number;
  member: TreeMember;
  /** Names of it; of a folder, `.` and the `..` of its subfolders count too. */
  links: number;
  /** Of a folder: its entries by name; null for anything else. */
  readonly entries: Map<string, Node> | null;
  readonly parent: Node | null;
}

export interface Tree {
  readonly root: Node;
  /** All, in the order of their numbers. */
  readonly nodes: readonly Node[];
}

/** Number of the root folder, and of the first of the others: those between are reserved. */
export const rootNumber = 2;
export const firstNumber = 11;

/** Most names of a file (EXT4_LINK_MAX). A folder may have more, and counts none of them then. */
export const mostLinks = 65_000;
const maximumNameBytes = 255;
/** A target fits into a block, with a zero byte behind it. */
const maximumTargetBytes = 4095;

/**
 * Puts members together as a tree. Folders that have no member of their own become root's, as tar makes them. Throws
 * `image.corrupt` where members contradict each other, `image.unsupported` for what ext4 has no place for.
 */
export function plantTree(members: Iterable<TreeMember>): Tree {
  const root = newNode(rootNumber, folderAt(''), null);
  const nodes = [root];
  const add = (parent: Node, name: string, member: TreeMember): Node => {
    const node = newNode(firstNumber + nodes.length - 1, member, parent);
    nodes.push(node);
    parent.entries?.set(name, node);
    if (node.entries !== null) parent.links += 1;
    return node;
  };
  const find = (path: string, make: boolean): Node | undefined => {
    let node = root;
    let end = 0;
    while (end < path.length) {
      const start = end === 0 ? 0 : end + 1;
      const slash = path.indexOf('/', start);
      end = slash < 0 ? path.length : slash;
      const name = path.slice(start, end);
      if (node.entries === null) throw corrupt(path, 'lies below what is no folder');
      const next = node.entries.get(name);
      if (next === undefined && !make) return undefined;
      node = next ?? add(node, checkedName(path, name), folderAt(path.slice(0, end)));
    }
    return node;
  };
  for (const member of members) {
    const { path, type } = member;
    if (path === '' || type === 'directory') {
      const node = find(path, true);
      if (node === undefined || node.entries === null || type !== 'directory') throw corrupt(path, 'is no folder');
      node.member = member;
      continue;
    }
    const slash = path.lastIndexOf('/');
    const parent = find(slash < 0 ? '' : path.slice(0, slash), true);
    const name = checkedName(path, path.slice(slash + 1));
    if (parent?.entries === null || parent === undefined) throw corrupt(path, 'lies below what is no folder');
    if (parent.entries.has(name)) throw corrupt(path, 'is there twice');
    if (type !== 'link') {
      check(member);
      add(parent, name, member);
      continue;
    }
    const target = find(member.target, false);
    if (target === undefined || target.entries !== null) throw corrupt(path, 'is a hard link to no earlier file');
    target.links += 1;
    if (target.links > mostLinks) throw unsupported(path, `is one of more than ${mostLinks} names of a file`);
    parent.entries.set(name, target);
  }
  return { root, nodes };
}

function newNode(number: number, member: TreeMember, parent: Node | null): Node {
  const isFolder = member.type === 'directory';
  return { number, member, parent, links: isFolder ? 2 : 1, entries: isFolder ? new Map() : null };
}

function folderAt(path: string): TreeMember {
  return {
    ...{ path, type: 'directory', mode: 0o755, uid: 0, gid: 0, modified: 0, target: '', major: 0, minor: 0 },
    ...{ contentAt: 0, sizeBytes: 0, attributes: new Map() },
  };
}

function checkedName(path: string, name: string): string {
  if (name === '' || name === '.' || name === '..') throw corrupt(path, 'is no path');
  if (name.length > maximumNameBytes) throw unsupported(path, 'has a name that is too long');
  return name;
}

function check({ path, type, target, major, minor }: TreeMember): void {
  if (type === 'symlink' && (target === '' || target.length > maximumTargetBytes)) {
    throw unsupported(path, 'is a link whose target is empty or too long');
  }
  if ((type === 'character' || type === 'block') && (major > 0xfff || minor > 0xf_ffff)) {
    throw unsupported(path, `is a device with the number ${major}:${minor}, which Linux does not have`);
  }
}
