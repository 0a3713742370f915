/** The values that every apt has by itself. */
const usual: ReadonlyMap<string, string> = new Map([
  ['Dir', '/'],
  ['Dir::Etc', 'etc/apt'],
  ['Dir::Etc::sourcelist', 'sources.list'],
  ['Dir::Etc::sourceparts', 'sources.list.d'],
  ['Dir::Etc::preferences', 'preferences'],
  ['Dir::Etc::preferencesparts', 'preferences.d'],
  ['Dir::Etc::trusted', 'trusted.gpg'],
  ['Dir::Etc::trustedparts', 'trusted.gpg.d'],
  ['Dir::Etc::netrc', 'auth.conf'],
  ['Dir::Etc::netrcparts', 'auth.conf.d'],
  ['Dir::Log', 'var/log/apt'],
  ['Dir::State', 'var/lib/apt'],
  ['Dir::State::extended_states', 'extended_states'],
]);

/**
 * The path in the image of a file or folder of its apt, such as `Dir::Etc::sourceparts`, by the lines of its
 * `apt-config dump`. Without lines, the usual path.
 */
export function placeOf(configuration: readonly string[], key: string): string {
  const line = configuration.find((other) => other.startsWith(`${key} "`) && other.endsWith('";'));
  const value = line === undefined ? (usual.get(key) ?? '') : line.slice(key.length + 2, -2);
  if (value.startsWith('/') || !key.includes('::')) return trimmed(value);
  const above = trimmed(placeOf(configuration, key.slice(0, key.lastIndexOf('::'))));
  return `${above === '/' ? '' : above}/${trimmed(value)}`;
}

/** Without a slash at the end. */
function trimmed(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}
