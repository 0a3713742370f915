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

/** The reason for which dpkg has not even begun, or has broken off, in its own words; null where it gives none. */
export function dpkgFatal(lines: readonly string[]): string | null {
  const at = lines.findIndex((line) => /^dpkg: (error|unrecoverable fatal error, aborting):/.test(line));
  if (at === -1) return null;
  const after = lines.slice(at + 1);
  const end = after.findIndex(
    (line) => line.trim() === '' || /^([EWN]:|dpkg: |\(Reading database|hook in )/.test(line),
  );
  const first = (lines[at] ?? '').replace(/^dpkg: (error|unrecoverable fatal error, aborting):/, '');
  return [first, ...after.slice(0, end === -1 ? undefined : end)]
    .map((line) => line.trim())
    .join(' ')
    .trim();
}

/** `name` of a package, or of the path of an archive; an architecture behind it stays. */
export function packageOf(name: string): string {
  const file = name.slice(name.lastIndexOf('/') + 1);
  const mark = file.indexOf('_');
  return mark >= 0 && file.endsWith('.deb') ? file.slice(0, mark) : file;
}
