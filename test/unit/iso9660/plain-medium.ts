import { writeFile } from 'node:fs/promises';
import type { IsoEntry, IsoTree } from '#lib/iso9660/tree.ts';

/** Writes files one behind the other to a new file, as a medium without folders would hold them; resolves with their places. */
export async function writeMedium(path: string, contents: Readonly<Record<string, Buffer | string>>): Promise<IsoTree> {
  const files = new Map<string, IsoEntry>();
  const parts: Buffer[] = [];
  let offsetBytes = 0;
  for (const [name, content] of Object.entries(contents)) {
    const bytes = Buffer.from(content);
    const extents = [{ offsetBytes, sizeBytes: bytes.length }];
    files.set(name, { type: 'file', sizeBytes: bytes.length, extents, target: null, encoding: null, owner: null });
    offsetBytes += bytes.length;
    parts.push(bytes);
  }
  await writeFile(path, Buffer.concat(parts));
  return files;
}
