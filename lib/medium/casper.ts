import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';
import { type InstallSource, parseInstallSources } from './install-sources.ts';
import type { LayerFolder, LiveStart, Medium, MediumSource, View } from './medium.ts';
import { isLaid, otherSystem, shownSystem } from './other-systems.ts';
import { withoutRepetition } from './views.ts';

/**
 * Layers of Ubuntu's casper. Since 19.04 the name of a layer is the list of the layers below it: `a.b.squashfs` stands on
 * `a.squashfs`. The uppermost one of a live session is named by the boot menu or the initial ramdisk (`layerfs-path=` and
 * `LAYERFS_PATH` in scripts/casper). Where neither names one, all layers are stacked in the order of their names.
 */

const suffix = '.squashfs';
/** Parts of names that only layers of the live session have: of desktops, and of servers. */
const liveParts: readonly string[] = ['live', 'installer'];

/** Layers one above the other, the lowest first. */
type Chain = readonly string[];

/** Throws `image.corrupt` for a catalogue of other layers, and `image.unsupported` for other file systems as layers. */
export function casperMedium({ folder, layers, paths, readText, starts, others }: LayerFolder): Medium {
  const catalogue = `${folder}/install-sources.yaml`;
  const sources = paths.has(catalogue) ? parseInstallSources(readText(catalogue)) : [];
  const hasCatalogue = sources.length > 0;
  const chains = layers.map((layer) => chainOf(layer, layers));
  const hasChains = chains.some((chain) => chain.length > 1);
  const started = startedChains(starts, folder, chains);
  // Older media have no catalogue and no chains: `filesystem` and, on servers, `installer` above it.
  const isStacked = !hasChains && (started.all || (!hasCatalogue && started.named.length === 0));
  const beside = others.find(({ path }) => isLaid(path, 'casper'));
  if (isStacked && beside !== undefined) throw otherSystem(`casper lays ${shownSystem(beside)} over its layers`);
  const live = isStacked ? [...started.named, layers] : started.named;
  const [longest = []] = (live.length > 0 ? live : chains).toSorted((one, other) => other.length - one.length);
  const installed = hasCatalogue ? knownSources(sources, folder, layers) : [onlySource(layers, folder, longest)];
  const chosen = sources.find((source) => source.default);
  const defaultSource = installed.find(({ id }) => id === chosen?.id) ?? installed[0];
  if (defaultSource === undefined) {
    const [first] = sources;
    throw new ImageBuilderError(
      'image.corrupt',
      `install-sources.yaml of the medium names ${quoted(first?.path ?? '')}, which is no layer in /${folder}`,
    );
  }
  const installs = new Set(installed.flatMap(({ layer }) => chainOf(layer, layers)));
  /** A layer that only live sessions have is theirs without those above it, too. */
  const isLive = (chain: Chain) =>
    live.length === 0
      ? chain.some(isLiveByName)
      : live.some(
          (tree) =>
            chain.every((layer, index) => tree[index] === layer) &&
            (chain.length === tree.length || !installs.has(chain.at(-1) ?? '')),
        );
  const below = isStacked && !hasCatalogue ? layers.map((_, index) => layers.slice(0, index + 1)) : chains;
  // Without chains, a layer alone is a file tree only where it gets installed or started so.
  const shown = below.filter((chain) => hasChains || !hasCatalogue || installs.has(chain[0] ?? '') || isLive(chain));
  const views = [...shown, ...live].map((chain): View => ({ layers: chain, live: isLive(chain) }));
  return { family: 'casper', folder, views: withoutRepetition(views), sources: installed, defaultSource };
}

/** The file trees that boot menus and initial ramdisks start, as far as they are known; `all` where one starts all layers. */
function startedChains(
  starts: readonly LiveStart[],
  folder: string,
  chains: readonly Chain[],
): { readonly named: readonly Chain[]; readonly all: boolean } {
  const names = new Set(starts.flatMap(({ topLayer }) => (topLayer === 'unknown' ? [] : [topLayer.name])));
  const named = chains.filter((chain) => names.has((chain.at(-1) ?? '').slice(folder.length + 1)));
  return { named, all: names.has(null) };
}

/** The layers that a layer stands on by its name, and itself. */
function chainOf(layer: string, layers: readonly string[]): string[] {
  const folder = layer.slice(0, layer.lastIndexOf('/'));
  const parts = partsOf(layer);
  const known = new Set(layers);
  const names = parts.map((_, index) => `${folder}/${parts.slice(0, index + 1).join('.')}${suffix}`);
  return names.filter((name) => known.has(name));
}

function partsOf(layer: string): string[] {
  return layer.slice(layer.lastIndexOf('/') + 1, -suffix.length).split('.');
}

function isLiveByName(layer: string): boolean {
  return partsOf(layer).some((part) => liveParts.includes(part));
}

/** Sources whose layers are there. The installer offers others too, and fails then. */
function knownSources(sources: readonly InstallSource[], folder: string, layers: readonly string[]): MediumSource[] {
  const known = new Set(layers);
  return sources.flatMap(({ id, path, variations }) => {
    const paths = [path, ...Object.values(variations).map((variation) => variation.path)];
    const [layer, ...others] = new Set(paths.filter((each) => each !== '').map((each) => `${folder}/${each}`));
    if (layer === undefined || !known.has(layer)) return [];
    return [{ id, layer, variations: others.filter((each) => known.has(each)) }];
  });
}

/** Without a catalogue the installer copies `filesystem`, else the layers below those of the live session. */
function onlySource(layers: readonly string[], folder: string, tree: Chain): MediumSource {
  const usual = `${folder}/filesystem${suffix}`;
  const layer = layers.includes(usual) ? usual : tree.findLast((name) => !isLiveByName(name));
  return { id: 'filesystem', layer: layer ?? tree[0] ?? usual };
}
