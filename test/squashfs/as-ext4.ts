import { open } from 'node:fs/promises';
import type { TreeMember } from '#lib/ext4/member.ts';
import { writeExt4 } from '#lib/ext4/write.ts';
import { writeAll } from '#lib/write-all.ts';
import type { Files } from './files.ts';

const latin1 = (text: string) => Buffer.from(text).toString('latin1');

/** Files as members for an ext4, and the bytes that hold their contents one after the other. */
export function asMembers(files: Files): { members: TreeMember[]; source: Buffer } {
  const contents: Buffer[] = [];
  const first = new Map<string, string>();
  let at = 0;
  const members = [...files].map(([path, given]): TreeMember => {
    const { type, inode, content = Buffer.alloc(0), target = '', device = [0, 0] } = given;
    const earlier = inode === undefined ? undefined : first.get(inode);
    if (inode !== undefined && earlier === undefined) first.set(inode, path);
    const contentAt = at;
    if (type === 'file' && earlier === undefined) at += contents[contents.push(content) - 1]?.length ?? 0;
    if (type === 'socket') throw new Error('no tar has sockets');
    return {
      ...{ path: latin1(path), mode: given.mode, uid: given.uid, gid: given.gid, modified: given.modifiedSeconds },
      ...{ type: earlier === undefined ? type : 'link', target: latin1(earlier ?? target), contentAt },
      ...{ sizeBytes: content.length, major: device[0], minor: device[1] },
      attributes: new Map(Object.entries(given.attributes ?? {})),
    };
  });
  return { members, source: Buffer.concat(contents) };
}

/** Writes an ext4 of these files to `path`. */
export async function makeExt4(path: string, files: Files, sizeBytes: number): Promise<void> {
  const { members, source } = asMembers(files);
  await using file = await open(`${path}.source`, 'w+');
  await writeAll(file, source, 0);
  await writeExt4(path, members, { source: file, sizeBytes, signal: new AbortController().signal });
}
