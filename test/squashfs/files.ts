import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import type { FileType } from '#lib/squashfs/inode.ts';

/** File systems as the tests of SquashFS write them down, compare them, and lay them over each other. */

export interface FileSpec {
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly modifiedSeconds: number;
  readonly content?: Buffer;
  readonly target?: string;
  /** Major and minor number. */
  readonly device?: readonly [number, number];
  readonly attributes?: Readonly<Record<string, Buffer>>;
  /** Files with one inode have one such name. */
  readonly inode?: string;
}

/** Entries by their paths without a leading slash; the root is not among them. */
export type Files = ReadonlyMap<string, FileSpec>;

/** A spec with the defaults of these tests. */
export function spec(type: FileType, given: Partial<FileSpec> = {}): FileSpec {
  const mode = type === 'directory' ? 0o755 : type === 'symlink' ? 0o777 : 0o644;
  return { type, mode, uid: 0, gid: 0, modifiedSeconds: 1_700_000_000, ...given };
}

/** Paths in the order of their bytes, each directory before its content. */
export function sortedPaths(files: Files): string[] {
  return [...files.keys()].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}

/** One line for each entry with everything that counts, in the order of paths. */
function describe(files: Files): string[] {
  const names = new Map<string, string[]>();
  for (const path of sortedPaths(files)) {
    const inode = files.get(path)?.inode;
    if (inode !== undefined) names.set(inode, [...(names.get(inode) ?? []), path]);
  }
  return sortedPaths(files).map((path) => {
    const file = files.get(path);
    if (file === undefined) throw new Error('missing');
    const attributes = Object.entries(file.attributes ?? {})
      .map(([name, value]) => `${name}=${value.toString('hex')}`)
      .sort();
    const same = file.inode === undefined ? [] : (names.get(file.inode) ?? []);
    return [
      ...[JSON.stringify(path), file.type, file.mode.toString(8), file.uid, file.gid, file.modifiedSeconds],
      file.type === 'file' ? `${file.content?.length} ${digest(file.content ?? Buffer.alloc(0))}` : '',
      file.type === 'symlink' ? JSON.stringify(file.target) : '',
      file.type === 'block' || file.type === 'character' ? `device ${file.device?.join(':')}` : '',
      ...attributes,
      same.length > 1 ? `same as ${same.join(' ')}` : '',
    ]
      .filter((part) => part !== '')
      .join(' ');
  });
}

/** Fails with the lines that only one of the two has. */
export function assertSame(actual: Files, expected: Files, message?: string): void {
  const [one, other] = [describe(actual), describe(expected)];
  const [inOne, inOther] = [new Set(one), new Set(other)];
  const cut = (line: string) => line.slice(0, 400);
  const more = one.filter((line) => !inOther.has(line)).map(cut);
  const less = other.filter((line) => !inOne.has(line)).map(cut);
  assert.equal({ more, less }, { more: [], less: [] }, message);
}

function digest(content: Buffer): string {
  return createHash('sha1').update(content).digest('hex');
}
