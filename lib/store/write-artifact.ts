import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OtherArtifact } from './artifact.ts';

/** Writes a small artifact to a new file in `directory`, with its digests. */
export async function writeArtifact(
  { role, name, mediaType }: Pick<OtherArtifact, 'role' | 'name' | 'mediaType'>,
  content: string | Buffer,
  directory: string,
): Promise<OtherArtifact> {
  const path = join(directory, name);
  const bytes = Buffer.from(content);
  await writeFile(path, bytes, { flag: 'wx' });
  const digest = (algorithm: string) => createHash(algorithm).update(bytes).digest('hex');
  const checksums = { sha256: digest('sha256'), sha512: digest('sha512') };
  return { role, name, mediaType, path, sizeBytes: bytes.length, checksums };
}
