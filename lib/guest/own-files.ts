import { shownChanges } from './stack.ts';

/**
 * Small files of settings and state that a build has made or changed, each with its MD5 in hexadecimal. Scripts of packages
 * make some of them anew each time: keys, passwords, names of this one system.
 */
export type OwnFiles = Readonly<Record<string, string>>;

/** More are not compared; scripts/touched.sh knows it too. */
const mostFiles = 2_000;

/** Reads the lines of scripts/own-files.sh; null where the image's tools could not make them, or where there are too many. */
export function readOwnFiles(output: string): OwnFiles | null {
  const lines = output.split('\n');
  const begin = lines.indexOf('own files: begin');
  const end = lines.indexOf('own files: end', begin);
  if (begin === -1 || end === -1 || end - begin - 1 > mostFiles) return null;
  // A backslash stands in front of names that are escaped.
  const found = lines.slice(begin + 1, end).map((line) => /^\\?([0-9a-f]{32}) [ *](\/.*)$/.exec(line));
  if (found.includes(null)) return null;
  return Object.fromEntries(found.map((match) => [pathOf(match?.[2] ?? ''), match?.[1] ?? '']));
}

function pathOf(shown: string): string {
  return shown.startsWith(`${shownChanges}/`) ? shown.slice(shownChanges.length) : shown;
}

/** The lists of the scripts of packages: of what there is beside them, too, and nobody's secret. */
const collected: ReadonlySet<string> = new Set(['/etc/ld.so.cache']);

/**
 * A file of `made` that another build, which installed the same packages and more, does not have or has with another
 * content; null where there is none. Those in `removed` are no longer there when an image is finished.
 */
export function madeAnew(made: OwnFiles, other: OwnFiles, removed: ReadonlySet<string>): string | null {
  const anew = Object.entries(made).filter(([path, digest]) => other[path] !== digest);
  return anew.find(([path]) => !collected.has(path) && !removed.has(path))?.[0] ?? null;
}
