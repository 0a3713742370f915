import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';
import { type InstallSource, parseInstallSources } from './install-sources.ts';
import type { Medium, MediumFiles, MediumSource, View } from './medium.ts';

/**
 * Layers of Ubuntu's casper. Since 19.04 the name of a layer is the list of the layers below it: `a.b.squashfs` stands on
 * `a.squashfs` (`LAYERFS_PATH` in scripts/casper). Without such names, all layers are stacked in the order of their names.
 */

const folder = 'casper';
const suffix = '.squashfs';
const catalogue = `${folder}/install-sources.yaml`;
/** Parts of names that only layers of the live session have: of desktops, and of servers. */
const liveParts: readonly string[] = ['live', 'installer'];

/** `layers` are sorted. */
export function casperMedium(
  layers: readonly string[],
  paths: ReadonlySet<string>,
  readText: MediumFiles['readText'],
): Medium {
  const sources = paths.has(catalogue) ? parseInstallSources(readText(catalogue)) : [];
  const chains = layers.map((layer) => chainOf(layer, layers));
  // Older media have no catalogue and no chains: `filesystem` and, on servers, `installer` above it.
  const stacked = sources.length === 0 && chains.every((chain) => chain.length === 1);
  const views: View[] = stacked
    ? layers.map((_, index) => ({ layers: layers.slice(0, index + 1), live: index === layers.length - 1 }))
    : chains.map((chain) => ({ layers: chain, live: chain.some(isLive) }));
  const installed = sources.length === 0 ? [onlySource(layers, views)] : knownSources(sources, layers);
  const chosen = sources.find((source) => source.default);
  const defaultSource = installed.find(({ id }) => id === chosen?.id) ?? installed[0];
  if (defaultSource === undefined) {
    const [first] = sources;
    throw new ImageBuilderError(
      'image.corrupt',
      `install-sources.yaml of the medium names ${quoted(first?.path ?? '')}, which is no layer in /${folder}`,
    );
  }
  return { family: 'casper', folder, views, sources: installed, defaultSource };
}

/** The layers that a layer stands on by its name, and itself. */
function chainOf(layer: string, layers: readonly string[]): string[] {
  const parts = partsOf(layer);
  const known = new Set(layers);
  const names = parts.map((_, index) => `${folder}/${parts.slice(0, index + 1).join('.')}${suffix}`);
  return names.filter((name) => known.has(name));
}

function partsOf(layer: string): string[] {
  return layer.slice(folder.length + 1, -suffix.length).split('.');
}

function isLive(layer: string): boolean {
  return partsOf(layer).some((part) => liveParts.includes(part));
}

/** Sources whose layers are there. The installer offers others too, and fails then. */
function knownSources(sources: readonly InstallSource[], layers: readonly string[]): MediumSource[] {
  const known = new Set(layers);
  return sources.flatMap(({ id, path, variations }) => {
    const [first] = Object.values(variations);
    const layer = `${folder}/${path === '' ? (first?.path ?? '') : path}`;
    return known.has(layer) ? [{ id, layer }] : [];
  });
}

/** Without a catalogue the installer copies `filesystem`, else the layers below those of the live session. */
function onlySource(layers: readonly string[], views: readonly View[]): MediumSource {
  const usual = `${folder}/filesystem${suffix}`;
  const [longest] = views.toSorted((one, other) => other.layers.length - one.layers.length);
  const layer = layers.includes(usual) ? usual : longest?.layers.findLast((name) => !isLive(name));
  return { id: 'filesystem', layer: layer ?? longest?.layers[0] ?? usual };
}
