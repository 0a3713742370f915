import { open } from 'node:fs/promises';
import type { Squashfs } from '#lib/squashfs/open.ts';
import { readRegion } from '#lib/squashfs/region.ts';
import { readMembers } from '#lib/squashfs/thin/member.ts';
import { type ThinLimits, type Thinned, thinArchive } from '#lib/squashfs/thin/thin.ts';
import { createView } from '#lib/squashfs/thin/view.ts';
import type { FileSpec, Files } from './files.ts';
import { limits } from './make.ts';

export const thinLimits: ThinLimits = { ...limits, maximumEntries: 1_000_000 };

/** The entries of an archive, for comparison. */
export async function readTar(path: string): Promise<Files> {
  await using handle = await open(path);
  const region = { handle, offset: 0, length: (await handle.stat()).size };
  const files = new Map<string, FileSpec>();
  for await (const member of readMembers(region, limits.signal)) {
    const inode = member.type === 'link' ? member.target : member.path;
    const own = member.type === 'link' ? files.get(utf8(member.target)) : undefined;
    const attributes = [...member.records].flatMap(([keyword, value]) =>
      keyword.startsWith('SCHILY.xattr.') ? [[keyword.slice('SCHILY.xattr.'.length), value] as const] : [],
    );
    files.set(utf8(member.path), {
      ...{ mode: member.mode, uid: member.uid, gid: member.gid },
      modifiedSeconds: Number.parseInt(member.header.toString('latin1', 136, 147), 8),
      ...(member.type === 'file' ? { content: await readRegion(region, member.contentAt, member.sizeBytes) } : {}),
      ...(member.type === 'symlink' ? { target: utf8(member.target) } : {}),
      ...(member.type === 'character' || member.type === 'block'
        ? { device: [member.major, member.minor] as const }
        : {}),
      attributes: Object.fromEntries(attributes),
      ...own,
      type: member.type === 'link' ? 'file' : member.type,
      inode,
    });
  }
  return files;
}

function utf8(text: string): string {
  return Buffer.from(text, 'latin1').toString();
}

/** Thins the archive at `path` into a new one at `result`. */
export async function thinFile(path: string, layers: readonly Squashfs[], result: string): Promise<Thinned> {
  await using archive = await open(path);
  await using output = await open(result, 'wx');
  const region = { handle: archive, offset: 0, length: (await archive.stat()).size };
  return await thinArchive(region, createView(layers), output, thinLimits);
}
