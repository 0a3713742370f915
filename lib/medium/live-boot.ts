import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';
import type { LayerFolder, Medium, View } from './medium.ts';
import { withoutRepetition } from './views.ts';

/**
 * Layers of Debian's live-boot (components/9990-overlay.sh): those that a list names, `filesystem.NAME.module` or
 * `NAME.module` for `module=NAME` of the boot menu, the last one on top; without such a list all, in the order of their
 * names. The usual name is `filesystem`.
 */

const moduleSuffix = '.module';
const usualName = 'filesystem';

/** Throws `image.corrupt` for lists that name what is not there. */
export function liveBootMedium({ folder, layers, paths, readText, starts }: LayerFolder): Medium {
  const modules = [...paths].filter((path) => path.endsWith(moduleSuffix) && folderOf(path) === folder).sort();
  const listed = new Map(
    modules.map((path): [string, View] => [path, { layers: parseModule(readText(path), path, layers), live: true }]),
  );
  const all: View = { layers, live: true };
  const startedBy = (name: string) =>
    [`${usualName}.${name}`, name].map((each) => listed.get(`${folder}/${each}${moduleSuffix}`)).find(Boolean) ?? all;
  const names = starts.length === 0 ? [null] : starts.map(({ module }) => module);
  const started = names.map((name) => startedBy(name ?? usualName));
  // A list that no menu names may be typed by hand.
  const views = [...started, ...listed.values()];
  const main = names.includes(null) ? startedBy(usualName) : (started[0] ?? all);
  const usual = `${folder}/filesystem.squashfs`;
  // The installer of Debian live copies the whole tree: the main layer is the one that every tool makes.
  const layer = main.layers.includes(usual) ? usual : (main.layers.at(-1) ?? usual);
  const source = { id: 'filesystem', layer };
  return {
    ...{ family: 'live-boot', folder, views: withoutRepetition(views), sources: [source] },
    defaultSource: source,
  };
}

/** Names stand apart by any white space. */
function parseModule(text: string, path: string, layers: readonly string[]): string[] {
  const folder = folderOf(path);
  const known = new Set(layers);
  const found = text.split(/\s/).flatMap((name) => (name === '' ? [] : [`${folder}/${name}`]));
  const missing = found.find((layer) => !known.has(layer));
  if (missing === undefined && found.length > 0 && new Set(found).size === found.length) return found;
  throw new ImageBuilderError(
    'image.corrupt',
    missing === undefined
      ? `/${path} of the medium is no list of layers`
      : `/${path} of the medium names ${quoted(missing.slice(folder.length + 1))}, which is no layer in /${folder}`,
  );
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
