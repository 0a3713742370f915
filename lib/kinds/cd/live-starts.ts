import type { FileHandle } from 'node:fs/promises';
import type { InitrdOptions } from '../../boot/initrd.ts';
import { readLiveInitrd } from '../../boot/live-initrd.ts';
import { normalPath } from '../../iso9660/follow.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { LiveStart } from '../../medium/medium.ts';
import { lastValue, type MenuEntry, readMenuEntries, topLayerIn } from './boot-menus.ts';
import { placeOn } from './medium-kernels.ts';

/** Media have up to three. Each is unpacked to be looked into, of up to 1 GiB. */
const mostInitrds = 6;

/**
 * The ways in which the boot menus of a medium start a live system. The initial ramdisks are looked into where layers of
 * casper depend on them. Throws as `readLiveInitrd` does.
 */
export async function readLiveStarts(handle: FileHandle, files: IsoTree, options: InitrdOptions): Promise<LiveStart[]> {
  const entries = await readMenuEntries(handle, files);
  const layers = [...files.keys()].filter((path) => /^casper\/[^/]+\.squashfs$/.test(path));
  const tops = new Map<string, LiveStart['topLayer']>();
  const topOf = async (path: string): Promise<LiveStart['topLayer']> => {
    const place = placeOn(files, path);
    const known = tops.get(path);
    if (known !== undefined || place === null || tops.size >= mostInitrds) return known ?? 'unknown';
    const { program, topLayer, damage, unknown } = await readLiveInitrd(handle, place, options);
    const isCertain = program === 'casper' && damage === null && unknown === null;
    const top = isCertain ? { name: topLayer?.split('/').at(-1) ?? null } : 'unknown';
    tops.set(path, top);
    return top;
  };
  const topLayerOf = async ({ initrds, words }: MenuEntry): Promise<LiveStart['topLayer']> => {
    const said = topLayerIn(words);
    if (said !== null) return { name: said };
    if (layers.length < 2) return 'unknown';
    for (const path of initrds) {
      const top = await topOf(path);
      if (top !== 'unknown') return top;
    }
    return 'unknown';
  };
  const starts: LiveStart[] = [];
  for (const entry of entries) {
    const { words } = entry;
    const dracut = dracutStart(words);
    if (dracut !== null) {
      starts.push(dracut);
      continue;
    }
    const folder = lastValue(words, 'live-media-path');
    starts.push({
      program: programs.get(lastValue(words, 'boot') ?? '') ?? null,
      folder: folder === null ? null : normalPath(folder),
      topLayer: await topLayerOf(entry),
      module: lastValue(words, 'module') || null,
    });
  }
  return starts;
}

/**
 * An entry that starts dracut, by dracut.cmdline(7): of the medium that `root=live:` names, it opens one file. live-build
 * makes such media, with the names of live-boot. Null for other entries.
 */
function dracutStart(words: readonly string[]): LiveStart | null {
  if (!words.some((word) => word.startsWith('root=live:') || word === 'rd.live.image')) return null;
  const folder = normalPath(lastValue(words, 'rd.live.dir') || 'LiveOS');
  const topLayer = { name: lastValue(words, 'rd.live.squashimg') || 'squashfs.img' };
  return { program: 'live-boot', folder, topLayer, module: null };
}

/** By the values of `boot=`. */
const programs: ReadonlyMap<string, LiveStart['program']> = new Map([
  ['casper', 'casper'],
  ['live', 'live-boot'],
]);
