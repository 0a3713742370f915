import type { RootArchive } from '../../tar/root-archive.ts';

/** The archives of a release of a system-image server beside its root file system. */

export const partKinds = ['device', 'custom', 'version'] as const;
export type PartKind = (typeof partKinds)[number];

/** The path by which a root file system is one. */
export const statusPath = 'var/lib/dpkg/status';

/**
 * The part that an archive is: by the paths of its members, as far as they are clear, and by its name where they may mean
 * several; null for something else.
 */
export function partKindOf(archive: RootArchive, fileName: string): PartKind | 'root' | null {
  const { entries } = archive;
  const isInside = isInsideSystem(archive);
  if (entries.get(isInside ? statusPath : `system/${statusPath}`)?.type === 'file') return 'root';
  if (entries.get(statusPath)?.type === 'file') return 'root';
  const has = (path: string) => entries.has(isInside ? path : `system/${path}`);
  const tops = new Set(isInside ? ['system'] : entries.keys().map((path) => path.split('/', 1)[0] ?? ''));
  tops.delete('');
  const found = new Set<PartKind>();
  // Recoveries write these to partitions of the device.
  if ([...entries.keys()].some((path) => /^partitions\/[^/]+[.]img$/.test(path))) found.add('device');
  if ([...entries.keys()].some((path) => isAndroid(isInside ? path : withoutSystem(path)))) found.add('device');
  if (tops.has('custom')) found.add('custom');
  if (has('etc/ubuntu-build') && has('etc/system-image/channel.ini')) found.add('version');
  const [only] = found;
  if (found.size === 1 && only !== undefined) return only;
  const named = kindByName(fileName);
  if (found.size > 1) return named !== null && found.has(named) ? named : 'device';
  // Neither is clear: overlays of a device and data alone have no marks of their own.
  const isOfDevice = [...tops].every((top) => ['system', 'data', 'partitions', 'vendor'].includes(top));
  return named ?? (isOfDevice && tops.size > 0 ? 'device' : null);
}

/** Whether all members lie in the folder `system`, as those of a system-image server's root file system do. */
export function isInsideSystem({ prefix }: RootArchive): boolean {
  return prefix.includes('system/');
}

/** The Android system of a device, in its container. */
function isAndroid(path: string | null): boolean {
  return path?.startsWith('var/lib/lxc/android/') === true;
}

function withoutSystem(path: string): string | null {
  return path.startsWith('system/') ? path.slice('system/'.length) : null;
}

/** `device-HASH.tar.xz`, `trusty-preinstalled-touch-armhf.custom.tar.gz`. */
function kindByName(fileName: string): PartKind | null {
  const words = fileName.toLowerCase().split(/[._-]/);
  return partKinds.find((kind) => words.includes(kind)) ?? null;
}
