import { basename, dirname } from 'node:path';
import type { SourceFile } from '../sources.ts';
import type { StateFile } from './state.ts';
import type { OutsideState } from './worker-apt.ts';

/**
 * The state of an image as it will be read when these files of `renderSources` are in it; null where the image's apt reads
 * other folders than theirs.
 */
export function addFiles(state: OutsideState, added: readonly SourceFile[]): OutsideState | null {
  if (!usualFolders.every((line) => state.apt.configuration.includes(line))) return null;
  let { sources, trusted } = state.apt;
  const files = new Map(state.files);
  for (const { path, content } of added) {
    const file = { name: basename(path), path, content: Buffer.from(content) };
    switch (dirname(path)) {
      case '/etc/apt/sources.list.d':
        sources = withPart(sources, file);
        break;
      case '/etc/apt/trusted.gpg.d':
        trusted = withPart(trusted, file);
        break;
      default:
        files.set(path, file.content);
    }
  }
  return { ...state, apt: { ...state.apt, sources, trusted }, files };
}

/** Lines of `apt-config dump`. */
const usualFolders: readonly string[] = [
  'Dir "/";',
  'Dir::Etc "etc/apt";',
  'Dir::Etc::sourceparts "sources.list.d";',
  'Dir::Etc::trustedparts "trusted.gpg.d";',
];

/** In the order of `stateOf`: the main file first, the parts by their names. A part takes the place of one with its path. */
function withPart(files: readonly StateFile[], added: StateFile): readonly StateFile[] {
  const isPart = ({ path }: StateFile) => dirname(path) === dirname(added.path);
  const parts = files.filter((file) => isPart(file) && file.path !== added.path);
  const sorted = [...parts, added].sort((a, b) => (a.name < b.name ? -1 : 1));
  return [...files.filter((file) => !isPart(file)), ...sorted];
}
