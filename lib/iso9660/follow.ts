import type { IsoTree } from './tree.ts';

/** Paths on a medium as other files of it write them: with `.` and `..`, and through symbolic links of Rock Ridge. */

const maximumLinks = 8;
/** Linux allows as much. */
const maximumPathCharacters = 4096;

/** The path, without a leading slash, of the file that `path` means behind all links; null where there is none. */
export function followPath(files: IsoTree, path: string): string | null {
  let wanted = path;
  for (let links = 0; links <= maximumLinks; links++) {
    if (wanted.length > maximumPathCharacters) return null;
    wanted = normalPath(wanted);
    if (files.get(wanted)?.type === 'file') return wanted;
    const next = throughLink(files, wanted);
    if (next === null) return null;
    wanted = next;
  }
  return null;
}

/** A path without a leading slash, `.`, `..` and empty parts. */
export function normalPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** The path with the first link of it replaced by its target; null where no part is a link. */
function throughLink(files: IsoTree, path: string): string | null {
  for (let end = path.indexOf('/'); ; end = path.indexOf('/', end + 1)) {
    const part = end < 0 ? path : path.slice(0, end);
    const { type, target } = files.get(part) ?? {};
    if (type === 'link') {
      if (!target) return null;
      const folder = target.startsWith('/') ? '' : part.slice(0, part.lastIndexOf('/') + 1);
      return `${folder}${target}${path.slice(part.length)}`;
    }
    if (end < 0) return null;
  }
}
