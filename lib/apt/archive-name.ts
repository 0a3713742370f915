/** A package as the name of its file says. */
export interface ArchiveName {
  readonly name: string;
  readonly version: string;
  /** `all` for packages of no particular architecture. */
  readonly architecture: string;
}

/**
 * Parses `name_version_arch.deb` as apt writes it: characters with a meaning in file names or URLs stand as `%3a`. Null
 * for any other name.
 */
export function parseArchiveName(file: string): ArchiveName | null {
  const match = /^([a-z0-9][a-z0-9+.-]*)_([A-Za-z0-9%+.:~-]+)_([a-z0-9-]+)\.deb$/.exec(file);
  const [, name = '', escaped = '', architecture = ''] = match ?? [];
  const version = escaped.replace(/%([0-9a-f]{2})/gi, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
  // Debian policy 5.6.12: a version has no other characters.
  return /^[A-Za-z0-9.+:~-]+$/.test(version) ? { name, version, architecture } : null;
}
