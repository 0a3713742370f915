import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readPreferences } from './preferences.ts';
import { type OutsideSource, renderOutsideSource } from './sources.ts';
import type { AptState, StateFile } from './state.ts';

/** Keyrings that sources name, by their path in the image; without those that the image lacks. */
export type Keyrings = ReadonlyMap<string, Buffer>;

/**
 * Writes an image's apt state into a folder of the worker, in the layout that `renderWorkerConfiguration` names. Every
 * file gets one of our names or a checked one; nothing in the folder is a link.
 */
export async function writeWorkerFiles(
  directory: string,
  given: {
    readonly state: AptState;
    readonly sources: readonly OutsideSource[];
    readonly keyrings: Keyrings;
    readonly aptVersion: string;
  },
): Promise<void> {
  const { state, sources, keyrings, aptVersion } = given;
  const etc = join(directory, 'etc');
  const folders = ['none.d', 'sources.d', 'preferences.d', 'trusted.d', 'auth.d', 'keyrings'];
  for (const name of folders) await mkdir(join(etc, name), { recursive: true });
  for (const name of ['state', 'log', 'tmp']) await mkdir(join(directory, name));
  await writeFile(join(directory, 'state', 'status'), state.status);
  await writeFile(join(directory, 'state', 'extended_states'), state.extendedStates);
  await writeFile(join(etc, 'certificates.pem'), state.certificates);

  const copies = new Map<string, string>();
  for (const path of sources.flatMap((source) => source.signedBy?.paths ?? [])) {
    if (copies.has(path)) continue;
    const content = keyrings.get(path) ?? Buffer.alloc(0);
    const copy = join(etc, 'keyrings', `${copies.size}${keyExtension(content)}`);
    copies.set(path, copy);
    await writeFile(copy, content);
  }
  for (const [index, source] of sources.entries()) {
    const text = renderOutsideSource(source, (path) => copies.get(path) ?? '/nonexistent');
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
