import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError, isNodeError } from '#lib/errors.ts';

/** Reads this machine's own apt sources, so that the base image comes from the mirror that the machine itself uses. */

/** One `deb` source, as sources.list(5) describes it. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** Path of a keyring, when the entry names one; null when it names none, `embedded` for a key written in the entry. */
  readonly signedBy: string | null;
}

/** The release that this machine runs, from its os-release. */
export interface Release {
  /** `debian` or `ubuntu`. */
  readonly distribution: string;
  /** Such as `12` or `24.04`. */
  readonly version: string;
  /** Such as `bookworm` or `noble`. */
  readonly codename: string;
}

/** The `deb` entries of a file in the one-line format. Entries that are commented out, `deb-src` or `cdrom:` are left out. */
export function parseOneLineSources(text: string): AptSource[] {
  return text.split('\n').flatMap((line): AptSource[] => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)/.exec(line);
    if (match === null) return [];
    const [, options = '', uri = '', suite = '', components = ''] = match;
    if (uri.startsWith('cdrom:')) return [];
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1] ?? null;
    return [{ uri, suite, components: components.split(/\s+/).filter((word) => word !== ''), signedBy }];
  });
}

/** The `deb` entries of a file in the deb822 format, one for each URI and suite. Disabled stanzas are left out. */
export function parseDeb822Sources(text: string): AptSource[] {
  return text.split(/\n(?:[ \t]*\n)+/).flatMap((stanza) => {
    const fields = parseFields(stanza);
    const words = (name: string) => (fields.get(name) ?? '').split(/\s+/).filter((word) => word !== '');
    if (!words('types').includes('deb') || /^(no|false|off|0|without|disable)$/i.test(fields.get('enabled') ?? '')) {
      return [];
    }
    const key = fields.get('signed-by');
    const signedBy = key === undefined ? null : key.includes('BEGIN PGP') ? 'embedded' : key;
    return words('uris').flatMap((uri) =>
      words('suites').map((suite) => ({ uri, suite, components: words('components'), signedBy })),
    );
  });
}

function parseFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name = '';
  for (const line of stanza.split('\n')) {
    if (line.startsWith('#')) continue;
    const match = /^([^\s:]+):\s*(.*)$/.exec(line);
    if (match !== null) {
      name = (match[1] ?? '').toLowerCase();
      fields.set(name, (match[2] ?? '').trim());
    } else if (/^\s/.test(line) && name !== '') {
      fields.set(name, `${fields.get(name) ?? ''}\n${line.trim()}`.trim());
    }
  }
  return fields;
}

/**
 * Of all sources of a machine those that are the distribution's own for this release: the release itself, its updates
 * and its security updates. Sources of other vendors under the same suite name are recognised by their own key. Where
 * sources say `stable`, the release's codename is put, so that the image is of the machine's release.
 */
export function distributionSources(sources: readonly AptSource[], release: Release): AptSource[] {
  const suites = new Set(['', '-updates', '-security'].map((pocket) => release.codename + pocket));
  const keyring = new RegExp(`^/(usr/share|etc/apt)/.*${release.distribution}-archive[^/]*$`);
  const chosen = new Map<string, AptSource>();
  for (const source of sources) {
    const suite = source.suite.replace(/^stable(?=-|$)/, release.codename).replace(/\/$/, '');
    const own = source.signedBy === null || source.signedBy.split(/[\s,]+/).every((path) => keyring.test(path));
    const fetchable = /^https?:\/\/[^@]+$/.test(source.uri);
    if (!suites.has(suite) || !source.components.includes('main') || !own || !fetchable) continue;
    chosen.set(`${source.uri} ${suite} ${source.components.join(' ')}`, { ...source, suite });
  }
  return [...chosen.values()];
}

/** Reads every source that apt reads under `directory` (`/etc/apt`). */
export async function readAptSources(directory = '/etc/apt'): Promise<AptSource[]> {
  const parts = join(directory, 'sources.list.d');
  const names = (await readdir(parts).catch(emptyWhenMissing([]))).sort();
  const texts = await Promise.all(
    [join(directory, 'sources.list'), ...names.map((name) => join(parts, name))].map(async (path) => {
      if (path.endsWith('.list')) return parseOneLineSources(await readFile(path, 'utf8').catch(emptyWhenMissing('')));
      return path.endsWith('.sources') ? parseDeb822Sources(await readFile(path, 'utf8')) : [];
    }),
  );
  return texts.flat();
}

function emptyWhenMissing<Value>(empty: Value): (error: unknown) => Value {
  return (error) => {
    if (isNodeError(error) && error.code === 'ENOENT') return empty;
    throw error;
  };
}

/** This machine's release. Throws `guest.unavailable` when it is neither Debian nor Ubuntu. */
export async function readRelease(path = '/etc/os-release'): Promise<Release> {
  const text = await readFile(path, 'utf8').catch(emptyWhenMissing(''));
  const value = (name: string) => new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
  const release = { distribution: value('ID'), version: value('VERSION_ID'), codename: value('VERSION_CODENAME') };
  if (!['debian', 'ubuntu'].includes(release.distribution) || release.codename === '') {
    throw new ImageBuilderError(
      'guest.unavailable',
      `a base image can be made on a release of Debian or Ubuntu only, and this machine is ${value('PRETTY_NAME') || 'neither'}; give the URL of an image instead`,
    );
  }
  return release;
}
