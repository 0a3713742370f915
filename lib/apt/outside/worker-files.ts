import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mirrorListPath, parseMirrorList } from './mirrors.ts';
import { readPreferences } from './preferences.ts';
import type { NamedFiles } from './records.ts';
import { type OutsideSource, renderOutsideSource } from './sources.ts';
import type { AptState, StateFile } from './state.ts';

/** The paths of the worker's copies of lists of mirrors, with those in the image. */
export type MirrorNames = ReadonlyMap<string, string>;

/** The working directory of apt and its methods: lists from there have the same names in every build, and are kept. */
const here = '/proc/self/cwd';

/**
 * Writes an image's apt state into a folder of the worker, in the layout that `renderWorkerConfiguration` names. Every
 * file gets one of our names or a checked one; nothing in the folder is a link. Throws `apt.repository` for a list of
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
): Promise<MirrorNames> {
  const { state, sources, files, aptVersion } = given;
  const etc = join(directory, 'etc');
  const folders = ['none.d', 'sources.d', 'preferences.d', 'trusted.d', 'auth.d', 'keyrings', 'mirrors'];
  for (const name of folders) await mkdir(join(etc, name), { recursive: true });
  for (const name of ['state', 'log', 'tmp']) await mkdir(join(directory, name));
  await writeFile(join(directory, 'state', 'status'), state.status);
  await writeFile(join(directory, 'state', 'extended_states'), state.extendedStates);
  await writeFile(join(etc, 'certificates.pem'), state.certificates);

  const copies = new Map<string, string>();
  for (const path of sources.flatMap((source) => source.signedBy?.paths ?? [])) {
    if (copies.has(path)) continue;
    const content = files.get(path) ?? Buffer.alloc(0);
    const copy = join(etc, 'keyrings', `${copies.size}${keyExtension(content)}`);
    copies.set(path, copy);
    await writeFile(copy, content);
  }
  const mirrors = new Map<string, string>();
  for (const path of sources.flatMap(({ uris }) => uris.flatMap((uri) => mirrorListPath(uri) ?? []))) {
    if (mirrors.has(path)) continue;
    const name = `etc/mirrors/${mirrors.size}.list`;
    mirrors.set(path, `${here}/${name}`);
    await writeFile(join(directory, name), parseMirrorList(path, files.get(path)));
  }
  for (const [index, source] of sources.entries()) {
    const copyOf = (of: ReadonlyMap<string, string>) => (path: string) => of.get(path) ?? '/nonexistent';
    const text = renderOutsideSource(source, copyOf(copies), copyOf(mirrors));
    await writeFile(join(etc, 'sources.d', `${numbered(index)}.sources`), text);
  }
  await writeAll(
    join(etc, 'preferences.d'),
    state.preferences.map(({ content }) => ({
      name: '.pref',
      content: Buffer.from(readPreferences(content.toString('utf8'), aptVersion)),
    })),
  );
  await writeAll(
    join(etc, 'trusted.d'),
    state.trusted.map(({ content }) => ({ name: keyExtension(content), content })),
  );
  await writeAll(
    join(etc, 'auth.d'),
    state.credentials.map(({ content }) => ({ name: '.conf', content })),
    0o600,
  );
  return new Map([...mirrors].map(([path, copy]) => [copy, path]));
}

/** Numbered, so that the order stays; only the extension of each name is kept. */
async function writeAll(folder: string, files: readonly StateFile[], mode = 0o644): Promise<void> {
  for (const [index, { name, content }] of files.entries()) {
    await writeFile(join(folder, `${numbered(index)}${name}`), content, { mode });
  }
}

function numbered(index: number): string {
  return String(index).padStart(4, '0');
}

/** apt distinguishes the two forms of keys by their extension, and some systems call theirs `.pgp`. */
function keyExtension(content: Buffer): '.asc' | '.gpg' {
  return content.subarray(0, 200).toString('latin1').includes('-----BEGIN PGP') ? '.asc' : '.gpg';
}
