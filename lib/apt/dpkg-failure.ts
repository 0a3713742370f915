/** The line in which dpkg says that it cannot go on with a package. */
export interface DpkgFailure {
  /** The package's name, possibly with `:architecture`, or the path of an archive. */
  readonly name: string;
  /** The reason; empty where dpkg gives it on the next line. */
  readonly message: string;
}

/** Parses `dpkg: error processing package NAME (--configure):` and the like; null for every other line. */
export function parseDpkgFailure(line: string): DpkgFailure | null {
  const match = /^dpkg: error processing (?:package|archive) (\S+) \(--[a-z-]+\)(.*)$/.exec(line);
  if (match === null) return null;
  const [, name = '', rest = ''] = match;
  return { name, message: rest.replace(/^:/, '').trim() };
}

/** `name` of a package, or of the path of an archive; an architecture behind it stays. */
export function packageOf(name: string): string {
  const file = name.slice(name.lastIndexOf('/') + 1);
  const mark = file.indexOf('_');
  return mark >= 0 && file.endsWith('.deb') ? file.slice(0, mark) : file;
}
