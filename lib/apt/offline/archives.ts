import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ImageBuilderError } from '../../errors.ts';
import { exec } from '../../exec.ts';

/** A package file that apt has downloaded and verified. */
export interface Archive {
  readonly name: string;
  readonly version: string;
  /** `all` for packages of no particular architecture. */
  readonly architecture: string;
  /** Name of its file in the folder that is handed in, as in apt's Dir::Cache::archives. */
  readonly file: string;
  /** Its stanza of a Packages index. */
  readonly stanza: string;
}

/** Fields of a package that decide how it is installed; hashes and places are ours. */
const indexFields = [
  'Package',
  'Version',
  'Architecture',
  'Multi-Arch',
  'Essential',
  'Protected',
  'Important',
  'Source',
  'Section',
  'Priority',
  'Installed-Size',
  'Pre-Depends',
  'Depends',
  'Recommends',
  'Suggests',
  'Enhances',
  'Conflicts',
  'Breaks',
  'Replaces',
  'Provides',
];

/**
 * Takes what apt has downloaded into `archives` (its Dir::Cache::archives) over into `folder`, which is created, and
 * describes each.
 */
export async function takeArchives(archives: string, folder: string, signal: AbortSignal): Promise<Archive[]> {
  await mkdir(folder);
  const files = (await readdir(archives)).filter((name) => name.endsWith('.deb')).sort();
  const taken: Archive[] = [];
  for (const file of files) {
    const { name, version, architecture } = parseArchiveName(file);
    const path = join(folder, file);
    await link(join(archives, file), path);
    const { stdout } = await exec('dpkg-deb', ['--field', path, ...indexFields], { signal, timeoutMs: 60_000 });
    const { sizeBytes, sha256 } = await digest(path, signal);
    const stanza = `${stdout.trimEnd()}\nFilename: ./${file}\nSize: ${sizeBytes}\nSHA256: ${sha256}\nDescription: ${name}\n`;
    taken.push({ name, version, architecture, file, stanza });
  }
  return taken;
}

/** `name_version_arch.deb` as apt writes it: what has a meaning in file names or URLs stands as `%3a`. */
export function parseArchiveName(file: string): Pick<Archive, 'name' | 'version' | 'architecture'> {
  const match = /^([a-z0-9][a-z0-9+.-]*)_([A-Za-z0-9%+.:~-]+)_([a-z0-9-]+)\.deb$/.exec(file);
  const [, name = '', escaped = '', architecture = ''] = match ?? [];
  const version = escaped.replace(/%([0-9a-f]{2})/gi, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
  // Debian policy 5.6.12: nothing else may stand in a version.
  if (match === null || !/^[A-Za-z0-9.+:~-]+$/.test(version)) {
    throw new ImageBuilderError('apt.repository', `a repository has a package whose name or version is none: ${file}`);
  }
  return { name, version, architecture };
}

async function digest(path: string, signal: AbortSignal): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const file = createReadStream(path, { highWaterMark: 2 ** 20 });
  file.on('data', (chunk) => {
    sizeBytes += chunk.length;
  });
  await pipeline(file, hash, { signal });
  return { sizeBytes, sha256: hash.digest('hex') };
}
