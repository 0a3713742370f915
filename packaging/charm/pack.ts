import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programPrefix } from '../../charm/src/places.ts';
import { below, copies, installation } from '../installation.ts';
import { findNode } from '../node.ts';
import type { Release } from '../tarball.ts';
import { type Entry, type Tree, writeTree } from '../tree.ts';
import { type Charmcraft, readCharmcraft } from './charmcraft.ts';
import { dispatchFault } from './dispatch.ts';
import { generatedFiles } from './metadata.ts';
import { zipFolder } from './zip.ts';

/** A charm to make. */
export interface CharmRelease extends Release {
  /** Of Debian, such as `amd64`. */
  readonly architecture: string;
  /** Level of zip: 1 is the fastest, 9 makes the smallest file. */
  readonly level?: number;
}

/** Folder of the charm's sources in the repository. */
const sources = 'charm';
const charmcraftFile = 'charmcraft.yaml';

/** Makes the charm, with Node and the program in it; resolves with its path. The same files give the same bytes. */
export async function makeCharm(release: CharmRelease): Promise<string> {
  const { to, architecture, level = 6 } = release;
  return await withCharm(release, async (charmcraft, files, directory) => {
    const generated = [...generatedFiles(charmcraft, release)].map(([path, content]) => [path, { content }] as const);
    const staged = join(directory, 'charm');
    await writeTree(new Map<string, Entry>([...files, ...generated]), staged, release.seconds);
    const path = join(to, `${charmcraft.name}_${charmcraft.base.replace('@', '-')}-${architecture}.charm`);
    // zip would add to a file that is there.
    await rm(path, { force: true });
    await zipFolder(staged, path, level);
    return path;
  });
}

/** Makes the folder in which `charmcraft pack` makes the same charm; resolves with its path. */
export async function makeCharmFolder(release: CharmRelease): Promise<string> {
  const { root, to, architecture, seconds } = release;
  return await withCharm(release, async ({ name }, files) => {
    const path = join(to, `${name}-charm-${architecture}`);
    await rm(path, { recursive: true, force: true });
    const content = await readFile(join(root, sources, charmcraftFile));
    await writeTree(new Map<string, Entry>([...files, [charmcraftFile, { content }]]), path, seconds);
    return path;
  });
}

/** Checks the charm, and hands its files to `use` with a folder that is deleted afterwards. */
async function withCharm(
  release: CharmRelease,
  use: (charmcraft: Charmcraft, files: Tree, directory: string) => Promise<string>,
): Promise<string> {
  const { root, architecture } = release;
  const charmcraft = readCharmcraft(await readFile(join(root, sources, charmcraftFile), 'utf8'));
  if (!(architecture in charmcraft.platforms)) {
    throw new Error(
      `charmcraft.yaml has no platform ${architecture}, but ${Object.keys(charmcraft.platforms).join(', ')}`,
    );
  }
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-charm-'));
  try {
    const files = await charmTree(root, architecture, join(directory, 'node'));
    const faults = [
      ...primeFaults(charmcraft, files),
      dispatchFault(await readFile(join(root, sources, 'dispatch'), 'utf8'), files),
    ];
    const found = faults.filter((fault) => fault !== null);
    if (found.length > 0) throw new Error(found.join('\n'));
    return await use(charmcraft, files, directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The files of the charm but those that are generated. */
async function charmTree(root: string, architecture: string, directory: string): Promise<Tree> {
  const node = await findNode(root, architecture, directory);
  const copied = await copies(root, [sources], '.');
  const own = copied.map(([path, entry]) => [path.slice(`./${sources}/`.length), entry] as const);
  // A link would become a copy of the command, which looks for the program beside itself.
  const program = [...(await installation(root, programPrefix))].filter(([, entry]) => !('link' in entry));
  return new Map<string, Entry>([
    ...own.filter(([path]) => path !== charmcraftFile),
    ...below('program', new Map(program)),
    ['node/bin/node', { source: join(node.files, 'bin/node'), mode: 0o755 }],
    ['node/LICENSE', { source: join(node.files, 'LICENSE') }],
    ['LICENSE', { source: join(root, 'LICENSE') }],
  ]);
}

/** `charmcraft pack` takes those files alone that the part lists. */
function primeFaults({ parts }: Charmcraft, files: Tree): string[] {
  const listed = new Set(Object.values(parts).flatMap(({ prime }) => prime));
  const found = new Set([...files.keys()].map((path) => path.split('/')[0] ?? ''));
  return [
    ...[...found.difference(listed)].map((name) => `charmcraft.yaml must list ${name} in prime`),
    ...[...listed.difference(found)].map((name) => `charmcraft.yaml lists ${name} in prime, and there is no such file`),
  ];
}
