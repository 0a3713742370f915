import { z } from 'zod';
import type { FetchedFile } from '../../fetch/base-images.ts';
import type { BaseArchive } from './base-archive.ts';
import { isInsideSystem } from './part-kind.ts';

/**
 * The names of root file systems in the pool of a system-image server, and the descriptions beside them: `ubuntu-HASH.tar.xz`
 * and `ubuntu-HASH.json`, as generate_file_cdimage_ubuntu of system-image-server's lib/systemimage/generators.py writes them.
 */

/** Whether an archive has the form of such a root file system. */
export function isOfPool({ archive, compression }: BaseArchive): boolean {
  return isInsideSystem(archive) && compression === 'xz';
}

/** The word before the digest in the name of the base: `ubuntu`, or that of a server's own channel. */
export function poolWord({ fileName }: FetchedFile): string {
  return /^([a-z][a-z0-9]{0,31})-[0-9a-f]{64}[.]tar[.]xz$/.exec(fileName)?.[1] ?? 'ubuntu';
}

/** Commas and equals signs divide the `version_detail` of an index. */
const Description = z.object({ version: z.string().regex(/^[A-Za-z0-9.:~+_-]{1,64}$/) });

/** The version in the description of the base; null where there is none that can be used. */
export function parseDescribedVersion(text: string): string | null {
  try {
    return Description.parse(JSON.parse(text)).version;
  } catch {
    return null;
  }
}

export interface PoolFile {
  readonly word: string;
  /** SHA-256 of the finished archive, in hexadecimal. */
  readonly sha256: string;
  readonly version: string;
  readonly series: string;
}

/**
 * The description of a root file system. The server takes its digest from the list of checksums beside the archive that it
 * was made from; this one was made from no other, so its own digest is there, and in its name.
 */
export function describeRoot({ word, sha256, version, series }: PoolFile): string {
  const description = {
    generator: 'imagebuilder',
    rootfs_checksum: sha256,
    rootfs_path: `${word}-${sha256}.tar.xz`,
    series,
    version,
    version_detail: `${word}=${version}`,
  };
  return `${JSON.stringify(description, null, 4)}\n`;
}
