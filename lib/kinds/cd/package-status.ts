import type { Squashfs } from '../../squashfs/open.ts';
import { createView } from '../../squashfs/thin/view.ts';

/** The packages of a file tree, by its /var/lib/dpkg/status (deb822, as dpkg(1) writes it). */
export type InstalledPackages = ReadonlyMap<string, { readonly architecture: string; readonly version: string }>;

/**
 * Reads the installed packages, by name; by `name:architecture` where several of one name are installed. Lines of another
 * form are passed over: the image has written them.
 */
export function parsePackageStatus(text: string): InstalledPackages {
  const found = new Map<string, { architecture: string; version: string }>();
  let fields = new Map<string, string>();
  const end = () => {
    const [name, version, status] = ['Package', 'Version', 'Status'].map((field) => fields.get(field) ?? '');
    const architecture = fields.get('Architecture') ?? '';
    fields = new Map();
    if (!name || !version || !/^\S+ \S+ installed$/.test(status ?? '')) return;
    const key = found.has(name) ? `${name}:${architecture}` : name;
    found.set(key, { architecture, version });
  };
  for (const line of text.split('\n')) {
    if (line === '') end();
    const colon = line.indexOf(': ');
    const field = colon < 0 ? '' : line.slice(0, colon);
    if (wanted.includes(field)) fields.set(field, line.slice(colon + 2).trim());
  }
  end();
  return found;
}

const wanted: readonly string[] = ['Package', 'Status', 'Architecture', 'Version'];

/** A status of dpkg with some thousand packages has 4 MB. */
const maximumStatusBytes = 64 * 2 ** 20;

/** The packages of the file tree that these layers show, the lowest first; none where it has no dpkg. */
export async function readPackages(layers: readonly Squashfs[]): Promise<InstalledPackages> {
  const status = createView(layers).find('var/lib/dpkg/status');
  if (status?.inode.type !== 'file') return new Map();
  return parsePackageStatus((await status.layer.read(status.inode, maximumStatusBytes)).toString('utf8'));
}
