import { ImageBuilderError } from '../errors.ts';
import { quoted, someOf } from '../text.ts';
import { casperMedium } from './casper.ts';
import { liveBootMedium } from './live-boot.ts';
import type { LayerChoice, LiveStart, Medium, MediumFiles } from './medium.ts';

/** More than media have: the file trees that layers may make are compared with each other. */
const mostLayers = 200;

/**
 * Recognises a medium by its files. Throws `image.unsupported` with the reason for media without layers, such as those
 * that install from packages, and `image.corrupt` for catalogues and lists with faults.
 */
export function recogniseMedium(files: MediumFiles): Medium {
  const all = new Set(files.paths);
  const layers = [...all].filter((path) => path.endsWith('.squashfs'));
  const inFolder = (folder: string) => layers.filter((path) => path.slice(0, path.lastIndexOf('/')) === folder).sort();
  const usual = [
    { program: 'casper', folder: 'casper' },
    { program: 'live-boot', folder: 'live' },
  ] as const;
  const places = usual.filter(({ folder }) => inFolder(folder).length > 0);
  const found =
    places.length > 0 ? places : foldersOfMenus(files.starts).filter((each) => inFolder(each.folder).length > 0);
  const [place, other] = found;
  if (place === undefined) throw unsupported(reasonOf(all));
  if (other !== undefined) {
    const names = found.map(({ program, folder }) => `${program} (/${folder})`).join(' and for ');
    throw unsupported(`it has layers for ${names}, and nothing says which count`);
  }
  const own = inFolder(place.folder);
  if (own.length > mostLayers) {
    throw new ImageBuilderError('image.too_large', `the medium has more than ${mostLayers} layers`);
  }
  const starts = files.starts.filter(({ folder }) => (folder ?? place.folder) === place.folder);
  const options = { ...place, layers: own, paths: all, readText: files.readText, starts };
  return place.program === 'casper' ? casperMedium(options) : liveBootMedium(options);
}

/** The folders of layers that boot menus name, such as `live/grml64-full` of Grml. */
function foldersOfMenus(starts: readonly LiveStart[]): { program: Medium['family']; folder: string }[] {
  const found = starts.flatMap(({ program, folder }) =>
    program === null || folder === null ? [] : [{ program, folder }],
  );
  return [...new Map(found.map((place) => [`${place.program} ${place.folder}`, place])).values()];
}

/** Throws `request.invalid` for an id that no source has. Null chooses the default source. */
export function chooseLayers(medium: Medium, sourceId: string | null): LayerChoice {
  const source = sourceId === null ? medium.defaultSource : medium.sources.find(({ id }) => id === sourceId);
  if (source === undefined) {
    const ids = someOf(medium.sources.map(({ id }) => quoted(id)));
    const message = `the medium has no source ${quoted(sourceId ?? '')}; it has ${ids}`;
    throw new ImageBuilderError('request.invalid', message, { faults: [{ path: '$.base_image.cd.source', message }] });
  }
  const { layer } = source;
  const above = new Map<string, readonly string[]>();
  let below: readonly string[] = [];
  for (const { layers } of medium.views.toSorted((one, other) => one.layers.length - other.layers.length)) {
    const place = layers.indexOf(layer);
    if (place < 0) continue;
    below = layers.slice(0, place);
    for (const [index, upper] of layers.entries()) {
      if (index > place && !above.has(upper)) above.set(upper, layers.slice(0, index));
    }
  }
  return { source, layer, below, above: [...above].map(([upper, lower]) => ({ layer: upper, below: lower })) };
}

/** The reason why a medium without layers is refused, in words. */
function reasonOf(paths: ReadonlySet<string>): string {
  const has = (...names: string[]) => names.some((name) => paths.has(name));
  const none = 'it has no layers (/casper/*.squashfs or /live/*.squashfs)';
  if (has('LiveOS/squashfs.img', 'images/install.img', 'LiveOS/rootfs.img')) {
    return `${none}; it is of Fedora's family, and media of Ubuntu and Debian can be changed`;
  }
  if (has('arch/x86_64/airootfs.sfs'))
    return `${none}; it is of Arch Linux, and media of Ubuntu and Debian can be changed`;
  if ([...paths].some((path) => path.startsWith('pool/') || path.startsWith('dists/'))) {
    return `${none}; it installs from packages, so there is no file tree to change. Use a live medium`;
  }
  if ([...paths].some((path) => /(^|\/)initrd\.gz$/.test(path))) {
    return `${none}; it installs over the network, so there is no file tree to change. Use a live medium`;
  }
  return `${none}; live media of Ubuntu (casper) and Debian (live-boot) can be changed`;
}

function unsupported(reason: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the medium cannot be changed: ${reason}`);
}
