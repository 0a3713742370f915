import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';
import type { LayerFolder, LiveStart, Medium, View } from './medium.ts';
import { isLaid, type OtherSystem, otherSystem, shownSystem } from './other-systems.ts';
import { withoutRepetition } from './views.ts';

/**
 * Layers of Debian's live-boot (components/9990-overlay.sh): those that a list names, `filesystem.NAME.module` or
 * `NAME.module` for `module=NAME` of the boot menu, the last one on top; without such a list all, in the order of their
 * names. The usual name is `filesystem`.
 */

const moduleSuffix = '.module';
const usualName = 'filesystem';

/** Throws `image.corrupt` for lists that name what is not there, and `image.unsupported` for other file systems as layers. */
export function liveBootMedium({ folder, layers, paths, readText, starts, others }: LayerFolder): Medium {
  const modules = [...paths].filter((path) => path.endsWith(moduleSuffix) && folderOf(path) === folder).sort();
  const listed = new Map(
    modules.map((path): [string, View] => [
      path,
      { layers: parseModule(readText(path), path, layers, others), live: true },
    ]),
  );
  const all: View = { layers, live: true };
  const startedBy = (name: string) =>
    [`${usualName}.${name}`, name].map((each) => listed.get(`${folder}/${each}${moduleSuffix}`)).find(Boolean) ?? all;
  const names = starts.length === 0 ? [null] : starts.map(({ module }) => module);
  const started = names.map((name, index) => alone(starts[index], folder, layers) ?? startedBy(name ?? usualName));
  const beside = others.find(({ path }) => isLaid(path, 'live-boot'));
  if (beside !== undefined && started.includes(all)) {
    throw otherSystem(`live-boot lays ${shownSystem(beside)} over its layers`);
  }
  // A list that no menu names may be typed by hand.
  const views = [...started, ...listed.values()];
  const usualStart = names.indexOf(null);
  const main = started[Math.max(0, usualStart)] ?? all;
  const usual = `${folder}/filesystem.squashfs`;
  // The installer of Debian live copies the whole tree: the main layer is the one that every tool makes.
  const layer = main.layers.includes(usual) ? usual : (main.layers.at(-1) ?? usual);
  const source = { id: 'filesystem', layer };
  return {
    ...{ family: 'live-boot', folder, views: withoutRepetition(views), sources: [source] },
    defaultSource: source,
  };
}

/** The file tree of an entry that starts dracut, which opens one layer. */
function alone(start: LiveStart | undefined, folder: string, layers: readonly string[]): View | null {
  if (start === undefined || start.topLayer === 'unknown') return null;
  const layer = `${folder}/${start.topLayer.name}`;
  return layers.includes(layer) ? { layers: [layer], live: true } : null;
}

/** Names stand apart by any white space. */
function parseModule(text: string, path: string, layers: readonly string[], others: readonly OtherSystem[]): string[] {
  const folder = folderOf(path);
  const known = new Set(layers);
  const found = text.split(/\s/).flatMap((name) => (name === '' ? [] : [`${folder}/${name}`]));
  const missing = found.find((layer) => !known.has(layer));
  if (missing === undefined && found.length > 0 && new Set(found).size === found.length) return found;
  const other = others.find(({ path: each }) => each === missing);
  if (other !== undefined) throw otherSystem(`/${path} names ${shownSystem(other)}`);
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
