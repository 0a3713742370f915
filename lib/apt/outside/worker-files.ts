import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mirrorListPath, parseMirrorList } from './mirrors.ts';
import { placeOf } from './places.ts';
import { readPreferences } from './preferences.ts';
import type { NamedFiles } from './records.ts';
import { type OutsideSource, renderOutsideSource } from './sources.ts';
import type { AptState, StateFile } from './state.ts';

/** Where the files are that `writeWorkerFiles` has written. */
export interface WorkerFiles {
  /** The paths in the image of the files that the worker's apt may speak of, by their paths in its folder. */
  readonly names: ReadonlyMap<string, string>;
  /** The paths by which apt knows its copies of lists of mirrors, by those in the image. */
  readonly mirrors: ReadonlyMap<string, string>;
}

/** The working directory of apt and its methods: lists from there have the same names in every build, and are kept. */
export const here = '/proc/self/cwd';

/**
 * Writes an image's apt state into a folder of the worker, in the layout that `renderWorkerConfiguration` names. Every
 * file gets one of our names or a checked one; nothing in the folder is a link. Resolves with the names in the image. Throws `apt.repository` for a list of
 * mirrors that cannot be used.
 */
export async function writeWorkerFiles(
  directory: string,
  given: {
    readonly state: AptState;
    readonly sources: readonly OutsideSource[];
    /** Files that sources name: keyrings, lists of mirrors. */
    readonly files: NamedFiles;
    readonly aptVersion: string;
  },
): Promise<WorkerFiles> {
  const { state, sources, files, aptVersion } = given;
  const names = new Map<string, string>();
  const etc = join(directory, 'etc');
  const folders = ['none.d', 'sources.d', 'preferences.d', 'trusted.d', 'auth.d', 'keyrings', 'mirrors'];
  for (const name of folders) await mkdir(join(etc, name), { recursive: true });
  for (const name of ['state', 'log', 'tmp']) await mkdir(join(directory, name));
  await writeFile(join(directory, 'state', 'status'), state.status);
  await writeFile(join(directory, 'state', 'extended_states'), state.extendedStates);
  names.set('state/status', '/var/lib/dpkg/status');
  names.set('state/extended_states', placeOf(state.configuration, 'Dir::State::extended_states'));
  await writeFile(join(etc, 'certificates.pem'), state.certificates);

  const copies = new Map<string, string>();
  for (const path of sources.flatMap((source) => source.signedBy?.paths ?? [])) {
    if (copies.has(path)) continue;
    const content = files.get(path) ?? Buffer.alloc(0);
    const name = `etc/keyrings/${copies.size}${keyExtension(content)}`;
    copies.set(path, join(directory, name));
    names.set(name, path);
    await writeFile(join(directory, name), content);
  }
  const mirrors = new Map<string, string>();
  for (const path of sources.flatMap(({ uris }) => uris.flatMap((uri) => mirrorListPath(uri) ?? []))) {
    if (mirrors.has(path)) continue;
    const name = `etc/mirrors/${mirrors.size}.list`;
    mirrors.set(path, `${here}/${name}`);
    names.set(name, path);
    await writeFile(join(directory, name), parseMirrorList(path, files.get(path)));
  }
  for (const [index, source] of sources.entries()) {
    const copyOf = (of: ReadonlyMap<string, string>) => (path: string) => of.get(path) ?? '/nonexistent';
    const text = renderOutsideSource(source, copyOf(copies), copyOf(mirrors));
    const name = `etc/sources.d/${numbered(index)}.sources`;
    names.set(name, source.file);
    await writeFile(join(directory, name), text);
  }
  // Numbered, so that the order stays.
  const writeAll = async (
    folder: string,
    all: readonly StateFile[],
    extension: (content: Buffer) => string,
    mode = 0o644,
  ) => {
    for (const [index, { path, content }] of all.entries()) {
      const name = `etc/${folder}/${numbered(index)}${extension(content)}`;
      names.set(name, path);
      await writeFile(join(directory, name), content, { mode });
    }
  };
  const pins = state.preferences.map((file) => ({
    ...file,
    content: Buffer.from(readPreferences(file.content.toString('utf8'), aptVersion)),
  }));
  await writeAll('preferences.d', pins, () => '.pref');
  await writeAll('trusted.d', state.trusted, keyExtension);
  await writeAll('auth.d', state.credentials, () => '.conf', 0o600);
  return { names, mirrors };
}

function numbered(index: number): string {
  return String(index).padStart(4, '0');
}

/** apt distinguishes the two forms of keys by their extension, and some systems call theirs `.pgp`. */
function keyExtension(content: Buffer): '.asc' | '.gpg' {
  return content.subarray(0, 200).toString('latin1').includes('-----BEGIN PGP') ? '.asc' : '.gpg';
}
