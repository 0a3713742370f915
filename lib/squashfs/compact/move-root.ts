import { open } from 'node:fs/promises';
import { writeAll } from '../../write-all.ts';
import { parseListing } from '../listing.ts';
import { openSquashfs, type SquashfsLimits } from '../open.ts';
import { corrupt } from '../refusals.ts';

/** Place of the reference to the root in the superblock: 16 bits of offset, 48 of the block. */
const rootAt = 32;

/**
 * Makes a directory of the root the root of the file system. The root so far stays in the tables, where nothing leads to
 * it. Throws `image.corrupt` where there is no such directory, and as `openSquashfs` does.
 */
export async function moveRoot(path: string, name: string, limits: SquashfsLimits): Promise<void> {
  await using handle = await open(path, 'r+');
  const { size: length } = await handle.stat();
  const { tables, root } = await openSquashfs({ handle, offset: 0, length }, limits);
  for (const listed of parseListing(tables, root)) {
    if (listed.name !== name || listed.type !== 'directory') continue;
    const { block, offset } = listed.reference;
    const field = Buffer.alloc(8);
    field.writeUInt16LE(offset, 0);
    field.writeUIntLE(block, 2, 6);
    await writeAll(handle, field, rootAt);
    return;
  }
  throw corrupt(`its root has no directory ${name}`);
}
