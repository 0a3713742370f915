import { constants } from 'node:fs';
import { chmod, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { withoutEnds } from '../../fetch/beside.ts';
import { hashFile } from '../../image/digest.ts';
import type { OtherArtifact } from '../../store/artifact.ts';
import { writeArtifact } from '../../store/write-artifact.ts';
import { formats, mediaTypes } from './archive-format.ts';
import type { ReleasePart } from './release.ts';

/**
 * Copies the parts of a release, with their signatures and descriptions, to files of their own for the store: what was
 * downloaded is shared with the cache. Throws `image.corrupt` where a file has changed since then.
 */
export async function copyParts(
  parts: readonly ReleasePart[],
  directory: string,
  signal: AbortSignal,
): Promise<OtherArtifact[]> {
  const artifacts: OtherArtifact[] = [];
  for (const part of parts) {
    const { kind, file, compression } = part;
    const name = partName(part);
    const path = join(directory, name);
    await copyFile(file.path, path, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    await chmod(path, 0o600);
    const digests = await hashFile(path, { signal });
    if (digests.checksums.sha256 !== file.sha256) {
      throw new ImageBuilderError('image.corrupt', `the ${kind} archive of the release has changed on this machine`);
    }
    artifacts.push({ role: kind, name, mediaType: mediaTypes[compression], path, ...digests });
    for (const beside of file.beside) {
      // `NAME.tar.xz.asc`, `NAME.json`, `NAME.json.asc`, by the name that the archive gets.
      const isOfArchive = beside.name.endsWith('.asc') && !beside.name.endsWith('.json.asc');
      const end = beside.name.slice(beside.name.lastIndexOf(isOfArchive ? '.asc' : '.json'));
      const besideName = `${isOfArchive ? name : withoutEnds(name)}${end}`;
      const mediaType = beside.role === 'signature' ? 'application/pgp-signature' : 'application/json';
      artifacts.push(
        await writeArtifact({ role: beside.role, name: besideName, mediaType }, beside.content, directory),
      );
    }
  }
  return artifacts;
}

/** Its own name where that begins with its kind and has plain characters; so none has the name of another file. */
function partName({ kind, file: { fileName, sha256 }, compression }: ReleasePart): string {
  const isPlain = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,159}$/.test(fileName) && withoutEnds(fileName) !== fileName;
  if (!isPlain) return `${kind}-${sha256}.${formats[compression]}`;
  return fileName.startsWith(`${kind}-`) ? fileName : `${kind}-${fileName}`;
}
