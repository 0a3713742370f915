import { createHash } from 'node:crypto';
import { link, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ImageBuilderError } from '../../errors.ts';
import type { ScriptRunner } from '../../guest/guest.ts';
import { openForeignFile } from '../../unprivileged.ts';
import { type ArchiveName, parseArchiveName } from '../archive-name.ts';
import { readStanzas, renderStanza, type Stanza } from './stanzas.ts';

/** A package file that apt has downloaded and verified. */
export interface Archive extends ArchiveName {
  /** Name of its file in the folder that is handed in, as in apt's Dir::Cache::archives. */
  readonly file: string;
  /** Its stanza of a Packages index. */
  readonly stanza: string;
}

/** A file that apt has downloaded, with the entry that the package lists have for its name and version. */
export interface DescribedArchive extends Omit<Archive, 'stanza'> {
  readonly stanzas: readonly Stanza[];
}

/**
 * The files that apt has downloaded into `archives` (its Dir::Cache::archives), described by the lists of `worker`, the
 * worker's own apt. The files are not opened: the image's dpkg does that. Throws `apt.repository`.
 */
export async function describeArchives(
  archives: string,
  { worker, architecture: own }: { readonly worker: ScriptRunner; readonly architecture: string },
): Promise<DescribedArchive[]> {
  const files = (await readdir(archives)).filter((name) => name.endsWith('.deb')).sort();
  const named = files.map((file) => ({ file, ...nameOf(file) }));
  const names = named.map(({ name, architecture }) => qualifiedName(name, architecture, own));
  const stanzas = Map.groupBy(await readStanzas(worker, [...new Set(names)]), identity);
  return named.map((archive) => ({ ...archive, stanzas: stanzas.get(identityOf(archive)) ?? [] }));
}

/**
 * May put another package with the same content in the place of the one at this path; true where it has. `installedBytes` are those
 * that its files take as the lists say, null where they do not.
 */
export type ChangeArchive = (path: string, installedBytes: number | null) => Promise<boolean>;

/**
 * Moves downloaded files from `archives` into `folder`, which it creates and where nobody may change them any more.
 * Throws `tool.failed` for entries that are not files, and for packages that the lists do not contain. `change`
 * gets each, once its digest was compared.
 */
export async function takeArchives(
  described: readonly DescribedArchive[],
  archives: string,
  folder: string,
  signal: AbortSignal,
  change: ChangeArchive = async () => false,
): Promise<Archive[]> {
  await mkdir(folder);
  const taken: Archive[] = [];
  for (const { stanzas, ...archive } of described) {
    const { file, name } = archive;
    const path = join(folder, file);
    await link(join(archives, file), path);
    const downloaded = await digest(path, signal);
    // Two repositories may have the same version, built differently.
    const stanza = stanzas.find((each) => each.get('SHA256') === downloaded.sha256) ?? stanzas[0];
    if (stanza === undefined)
      throw new ImageBuilderError('tool.failed', `apt does not know what it has downloaded: ${file}`);
    const isChanged = await change(path, installedBytes(stanza));
    const { sizeBytes, sha256 } = isChanged ? await digest(path, signal) : downloaded;
    const text = `${renderStanza(stanza)}Filename: ./${file}\nSize: ${sizeBytes}\nSHA256: ${sha256}\nDescription: ${name}\n`;
    taken.push({ ...archive, stanza: text });
  }
  return taken;
}

/** The name by which apt is asked for a package on an image whose own architecture is `own`. */
export function qualifiedName(name: string, architecture: string, own: string): string {
  return architecture === 'all' || architecture === own ? name : `${name}:${architecture}`;
}

function identityOf({ name, version, architecture }: Pick<Archive, 'name' | 'version' | 'architecture'>): string {
  return `${name} ${version} ${architecture}`;
}

function identity(stanza: Stanza): string {
  const field = (name: string) => stanza.get(name) ?? '';
  return identityOf({ name: field('Package'), version: field('Version'), architecture: field('Architecture') });
}

function installedBytes(stanza: Stanza): number | null {
  const kibibytes = stanza.get('Installed-Size') ?? '';
  return /^[0-9]{1,12}$/.test(kibibytes) ? 1024 * Number(kibibytes) : null;
}

function nameOf(file: string): ArchiveName {
  const named = parseArchiveName(file);
  if (named !== null) return named;
  throw new ImageBuilderError('apt.repository', `a repository has a package whose name or version is none: ${file}`);
}

async function digest(path: string, signal: AbortSignal): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  await using file = await openForeignFile(path);
  const content = file.createReadStream({ highWaterMark: 2 ** 20, autoClose: false });
  content.on('data', (chunk) => {
    sizeBytes += chunk.length;
  });
  await pipeline(content, hash, { signal });
  return { sizeBytes, sha256: hash.digest('hex') };
}
