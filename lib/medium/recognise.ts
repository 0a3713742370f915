import { ImageBuilderError } from '../errors.ts';
import { quoted, someOf } from '../text.ts';
import { casperMedium } from './casper.ts';
import { liveBootMedium } from './live-boot.ts';
import type { LayerChoice, Medium, MediumFiles } from './medium.ts';

/** More than media have: the file trees that layers may make are compared with each other. */
const mostLayers = 200;

/**
 * Recognises a medium by its files. Throws `image.unsupported` with the reason for media without layers, such as those
 * that install from packages, and `image.corrupt` for catalogues and lists with faults.
 */
export function recogniseMedium({ paths, readText }: MediumFiles): Medium {
  const all = new Set(paths);
  const layers = [...all].filter((path) => path.endsWith('.squashfs'));
  const inFolder = (folder: string) => layers.filter((path) => path.slice(0, path.lastIndexOf('/')) === folder).sort();
  const casper = inFolder('casper');
  const liveBoot = inFolder('live');
  if (casper.length + liveBoot.length > mostLayers) {
    throw new ImageBuilderError('image.too_large', `the medium has more than ${mostLayers} layers`);
  }
  if (casper.length > 0 && liveBoot.length > 0) {
    throw unsupported('it has layers for casper (/casper) and for live-boot (/live), and nothing says which count');
  }
  if (casper.length > 0) return casperMedium(casper, all, readText);
  if (liveBoot.length > 0) return liveBootMedium(liveBoot, all, readText);
  throw unsupported(reasonOf(all));
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
