import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';
import type { Medium, MediumFiles, View } from './medium.ts';

/**
 * Layers of Debian's live-boot (components/9990-overlay.sh): all in the order of their names, the last one on top; or
 * those that a list names, one in each line: `filesystem.module`, or another by `module=` of the boot menu.
 */

const folder = 'live';
const moduleSuffix = '.module';
const usualModule = `${folder}/filesystem${moduleSuffix}`;

/** `layers` are sorted. Throws `image.corrupt` for lists that name what is not there. */
export function liveBootMedium(
  layers: readonly string[],
  paths: ReadonlySet<string>,
  readText: MediumFiles['readText'],
): Medium {
  const modules = [...paths].filter((path) => path.startsWith(`${folder}/`) && path.endsWith(moduleSuffix)).sort();
  const listed = modules.map((path): View => ({ layers: parseModule(readText(path), path, layers), live: true }));
  const all: View = { layers, live: true };
  const views = modules.includes(usualModule) ? listed : [all, ...listed];
  const main = modules.includes(usualModule) ? listed[modules.indexOf(usualModule)] : all;
  const usual = `${folder}/filesystem.squashfs`;
  const chosen = main?.layers ?? layers;
  // The installer of Debian live copies the whole tree: the main layer is the one that every tool makes.
  const layer = chosen.includes(usual) ? usual : (chosen.at(-1) ?? usual);
  const source = { id: 'filesystem', layer };
  return { family: 'live-boot', folder, views: withoutRepetition(views), sources: [source], defaultSource: source };
}

function parseModule(text: string, path: string, layers: readonly string[]): string[] {
  const names = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const known = new Set(layers);
  const found = names.map((name) => `${folder}/${name}`);
  const missing = found.find((layer) => !known.has(layer));
  if (missing === undefined && found.length > 0 && new Set(found).size === found.length) return found;
  throw new ImageBuilderError(
    'image.corrupt',
    missing === undefined
      ? `/${path} of the medium is no list of layers`
      : `/${path} of the medium names ${quoted(missing.slice(folder.length + 1))}, which is no layer in /${folder}`,
  );
}

function withoutRepetition(views: readonly View[]): View[] {
  return [...new Map(views.map((view) => [view.layers.join('\n'), view])).values()];
}
