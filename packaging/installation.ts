import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { exec } from '#lib/exec.ts';
import { programPrefix as charmPrefix } from '../charm/src/places.ts';
import { productionPackages } from './npm-packages.ts';
import { filesBelow, repositoryFiles } from './repository-files.ts';
import type { Entry, Tree } from './tree.ts';

/** Where an installation goes: `/usr` is the package manager's, `/usr/local` the administrator's, the last the charm's. */
export type Prefix = '/usr' | '/usr/local' | typeof charmPrefix;

/** Folder of the program below the prefix. */
export const programFolder = 'lib/imagebuilder';

/** Folders of the repository that belong to the program, and its files. */
const programParts = ['bin', 'functions', 'lib', 'template', 'stack.yml', 'package.json'];
/** Pages for operators, and the rules and the dashboard that one of them describes. */
const documentParts = ['README.md', 'SECURITY.md', 'docs', 'monitoring'];

/**
 * The files of an installation below its prefix, without Node: the program with its npm packages, systemd units, the
 * user, folders, settings, completions, the manual page and documentation.
 */
export async function installation(root: string, prefix: Prefix): Promise<Map<string, Entry>> {
  const unit = async (name: string) => {
    const text = await readFile(join(root, 'packaging/systemd', name), 'utf8');
    return { content: text.replaceAll('@PREFIX@', prefix) };
  };
  return new Map<string, Entry>([
    ...(await copies(root, programParts, programFolder)),
    ...(await packageFiles(root)),
    [`${programFolder}/host-guest.conf`, await unit('host-guest.conf')],
    [`${programFolder}/share-kernels`, { ...(await unit('share-kernels.sh')), mode: 0o755 }],
    ['bin/imagebuilder', { link: `../${programFolder}/bin/imagebuilder` }],
    ['lib/systemd/system/imagebuilder.service', await unit('imagebuilder.service')],
    ['lib/sysusers.d/imagebuilder.conf', await unit('sysusers.conf')],
    ['lib/tmpfiles.d/imagebuilder.conf', await unit('tmpfiles.conf')],
    ['share/bash-completion/completions/imagebuilder', { content: await output(root, 'completion', 'bash') }],
    [`${zshFolders[prefix]}/_imagebuilder`, { content: await output(root, 'completion', 'zsh') }],
    ['share/man/man1/imagebuilder.1.gz', { content: compress(await output(root, 'man')) }],
    ...(await copies(root, documentParts, 'share/doc/imagebuilder')),
    ['share/doc/imagebuilder/CHANGELOG.md.gz', { content: compress(await readFile(join(root, 'CHANGELOG.md'))) }],
  ]);
}

/** The same files everywhere in a tree, below another folder. */
export function below(folder: string, tree: Tree): Tree {
  return new Map([...tree].map(([path, entry]) => [`${folder}/${path}`, entry]));
}

/** Folders of zsh's own functions: Debian has one for packages, and zsh one for administrators. */
const zshFolders: Readonly<Record<Prefix, string>> = {
  '/usr': 'share/zsh/vendor-completions',
  '/usr/local': 'share/zsh/site-functions',
  [charmPrefix]: 'share/zsh/site-functions',
};

/** As `gzip --best --no-name`: without a time. */
export const compress = (content: string | Uint8Array): Uint8Array => gzipSync(content, { level: 9 });

/** The files of these parts of the repository, for `folder`, with their modes. */
export async function copies(root: string, parts: readonly string[], folder: string): Promise<[string, Entry][]> {
  const paths = await repositoryFiles(root, parts);
  return await Promise.all(
    paths.map(async (path): Promise<[string, Entry]> => {
      const source = join(root, path);
      const { mode } = await stat(source);
      return [`${folder}/${path}`, { source, mode: (mode & 0o100) === 0 ? 0o644 : 0o755 }];
    }),
  );
}

/** Types, maps, and settings of tools for the work on the code. */
const notForRunning = /\.(?:d\.[cm]?ts|map)$|\/(?:\.|eslint\.config\.)[^/]*$/;

/** The files of the npm packages that Node may read. No program that runs is among them. */
async function packageFiles(root: string): Promise<[string, Entry][]> {
  const folders = (await productionPackages(root)).map(({ folder }) => folder);
  const paths = (await filesBelow(root, folders)).filter((path) => !notForRunning.test(path));
  return paths.map((path): [string, Entry] => [`${programFolder}/${path}`, { source: join(root, path) }]);
}

/** The output of the command with these words. */
async function output(root: string, ...words: string[]): Promise<string> {
  return (await exec(process.execPath, [join(root, 'bin/imagebuilder.ts'), ...words])).stdout;
}
