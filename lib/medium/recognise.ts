import { ImageBuilderError } from '../errors.ts';
import { quoted, someOf } from '../text.ts';
import { casperMedium } from './casper.ts';
import { liveBootMedium } from './live-boot.ts';
import type { LayerChoice, LiveStart, Medium, MediumFiles } from './medium.ts';
import { type OtherSystem, onlySquashfs, otherSystem, shownSystem } from './other-systems.ts';

/** More than media have: the file trees that layers may make are compared with each other. */
const mostLayers = 200;

/** Folders in which the programs look for layers where nothing names another. */
const usualFolders: Readonly<Record<Medium['family'], string>> = { casper: 'casper', 'live-boot': 'live' };

interface Place {
  readonly program: Medium['family'];
  readonly folder: string;
}

/**
 * Recognises a medium by its files. Throws `image.unsupported` with the reason for media without layers, such as those
 * that install from packages, and for those that start another file system; `image.corrupt` for catalogues and lists
 * with faults.
 */
export function recogniseMedium(files: MediumFiles): Medium {
  const { starts, others = [] } = files;
  const all = new Set(files.paths);
  const foreign = new Set(others.map(({ path }) => path));
  const layers = [...all].filter((path) => path.endsWith('.squashfs') && !foreign.has(path));
  const inFolder = (folder: string) => layers.filter((path) => folderOf(path) === folder).sort();
  const found = placesOf(starts, (folder) => inFolder(folder).length > 0);
  const [place, other] = found;
  if (place === undefined) throw unsupported(reasonOf(all, others, starts));
  if (other !== undefined) {
    const names = found.map(({ program, folder }) => `${program} (/${folder})`).join(' and for ');
    throw unsupported(`it has layers for ${names}, and nothing says which count`);
  }
  const own = inFolder(place.folder);
  if (own.length > mostLayers) {
    throw new ImageBuilderError('image.too_large', `the medium has more than ${mostLayers} layers`);
  }
  const ownStarts = starts.filter(({ folder }) => (folder ?? place.folder) === place.folder);
  const beside = others.filter(({ path }) => folderOf(path) === place.folder);
  const named = new Set(
    starts.flatMap(({ folder, topLayer }) =>
      topLayer === 'unknown' ? [] : [`${folder ?? place.folder}/${topLayer.name}`],
    ),
  );
  const started = others.find(({ path }) => named.has(path));
  if (started !== undefined) throw otherSystem(`its boot menus start ${shownSystem(started)}`);
  const disguised = beside.find(({ path }) => path.endsWith('.squashfs'));
  if (disguised !== undefined) throw otherSystem(`one of its layers is ${shownSystem(disguised)}`);
  const options = { ...place, layers: own, paths: all, readText: files.readText, starts: ownStarts, others: beside };
  return place.program === 'casper' ? casperMedium(options) : liveBootMedium(options);
}

/**
 * The folders in which the entries of boot menus look for layers, such as `live/grml64-full` of Grml, of those that have
 * any: by `live-media-path=`, else the usual one of their program. The usual ones of both programs count where an entry
 * names no program, and where no other has layers.
 */
function placesOf(starts: readonly LiveStart[], hasLayers: (folder: string) => boolean): Place[] {
  const usual = (['casper', 'live-boot'] as const).map((program) => ({ program, folder: usualFolders[program] }));
  const programs = new Map<string, Place>();
  for (const { program, folder } of starts) {
    if (program === null) continue;
    const place = { program, folder: folder ?? usualFolders[program] };
    // A usual folder has the meaning of its name, whatever program opens it.
    if (hasLayers(place.folder))
      programs.set(place.folder, usual.find((each) => each.folder === place.folder) ?? place);
  }
  if (programs.size === 0 || starts.some(({ program }) => program === null)) {
    for (const place of usual) if (hasLayers(place.folder)) programs.set(place.folder, place);
  }
  return [...programs.values()];
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

/** Throws `request.invalid` for an id that no source has. Null chooses the default source. */
export function chooseLayers(medium: Medium, sourceId: string | null): LayerChoice {
  const source = sourceId === null ? medium.defaultSource : medium.sources.find(({ id }) => id === sourceId);
  if (source === undefined) {
    const ids = someOf(medium.sources.map(({ id }) => quoted(id)));
    const message = `the medium has no source ${quoted(sourceId ?? '')}; it has ${ids}`;
    throw new ImageBuilderError('request.invalid', message, { faults: [{ path: '$.base_image.cd.source', message }] });
  }
  return { source, ...surroundingsOf(medium, source.layer) };
}

/** The layers below one, and those above it on any view. */
export function surroundingsOf({ views }: Medium, layer: string): Omit<LayerChoice, 'source'> {
  const above = new Map<string, readonly string[]>();
  let below: readonly string[] = [];
  for (const { layers } of views.toSorted((one, other) => one.layers.length - other.layers.length)) {
    const place = layers.indexOf(layer);
    if (place < 0) continue;
    below = layers.slice(0, place);
    for (const [index, upper] of layers.entries()) {
      if (index > place && !above.has(upper)) above.set(upper, layers.slice(0, index));
    }
  }
  return { layer, below, above: [...above].map(([upper, lower]) => ({ layer: upper, below: lower })) };
}

/** The reason why a medium without layers is refused, in words. */
function reasonOf(paths: ReadonlySet<string>, others: readonly OtherSystem[], starts: readonly LiveStart[]): string {
  const has = (...names: string[]) => names.some((name) => paths.has(name));
  const found = others.length === 0 ? '' : `, but ${someOf(others.map(shownSystem))}`;
  const none = `it has no layers (/casper/*.squashfs or /live/*.squashfs)${found}`;
  if (has('LiveOS/squashfs.img', 'images/install.img', 'LiveOS/rootfs.img')) {
    return `${none}; it is started by dracut, as media of Fedora's family are, and media of Ubuntu and Debian can be changed`;
  }
  if (has('arch/x86_64/airootfs.sfs', 'arch/x86_64/airootfs.erofs')) {
    return `${none}; it is of Arch Linux, and media of Ubuntu and Debian can be changed`;
  }
  const folders = new Set([...Object.values(usualFolders), ...starts.map(({ folder }) => folder)]);
  if (others.some(({ path }) => folders.has(folderOf(path)))) return `${none}; ${onlySquashfs}`;
  if (others.length > 0) {
    return `${none}, which neither casper nor live-boot opens; live media of Ubuntu (casper) and Debian (live-boot) can be changed`;
  }
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
