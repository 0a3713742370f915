import { upTo } from '../text.ts';

/**
 * The lists on a medium that say what its layers hold. Each function changes the lines that a change concerns, and no
 * other byte.
 */

/** A package that a layer has got, in the words of `dpkg-query -W`. */
export interface PackageChange {
  /** With its architecture where the list names it so: `libc6:amd64`. */
  readonly name: string;
  /** The version that is there now; null for a package that is gone. */
  readonly version: string | null;
}

/**
 * A `.manifest` or `filesystem.packages`, with lines of a package and its version. New packages come where the order of
 * names puts them, each behind the last line with a smaller name where the list is sorted.
 */
export function updateManifest(text: string, changes: readonly PackageChange[]): string {
  const wanted = new Map(changes.map((change) => [change.name, change]));
  const lines = linesOf(text);
  const separator = lines.find((line) => line.includes('\t')) === undefined && lines.length > 0 ? ' ' : '\t';
  const kept = lines.flatMap((line) => {
    const name = upTo(line, '\t', ' ');
    const change = wanted.get(name);
    if (change === undefined || line === '') return [line];
    wanted.delete(name);
    if (change.version === null) return [];
    const rest = line.slice(name.length);
    return [name + rest.slice(0, rest.length - rest.trimStart().length) + change.version];
  });
  const added = [...wanted.values()]
    .filter(({ version }) => version !== null)
    .map(({ name, version }) => ({ name, line: `${name}${separator}${version}` }))
    .sort((one, other) => compare(one.name, other.name));
  return render(merge(kept, added), text);
}

/**
 * The differences of two manifests as `diff --unified=0` shows them, without its lines `@@`: a sign, a package and its
 * version. A package whose version is null has no line with that sign.
 */
export function updateDifference(
  text: string,
  added: readonly PackageChange[],
  removed: readonly PackageChange[],
): string {
  const header = /^(?:--- .*\n)?(?:\+\+\+ .*\n)?/.exec(text)?.[0] ?? '';
  const signed = (sign: string, changes: readonly PackageChange[]) =>
    changes.map(({ name, version }) => ({ name: sign + name, version }));
  return header + updateManifest(text.slice(header.length), [...signed('-', removed), ...signed('+', added)]);
}

/** Puts new lines between the old ones, of which all stay in their order. */
function merge(lines: readonly string[], added: readonly { readonly name: string; readonly line: string }[]): string[] {
  const merged: string[] = [];
  let next = 0;
  for (const line of lines) {
    const name = upTo(line, '\t', ' ');
    for (
      let upcoming = added[next];
      upcoming !== undefined && compare(upcoming.name, name) < 0;
      upcoming = added[next]
    ) {
      merged.push(upcoming.line);
      next += 1;
    }
    merged.push(line);
  }
  return [...merged, ...added.slice(next).map(({ line }) => line)];
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** A `.size` file, which holds one number of bytes. Null where it holds anything else. */
export function updateSize(text: string, addedBytes: number): string | null {
  const digits = text.trim();
  if (!/^[0-9]{1,15}$/.test(digits)) return null;
  return text.replace(digits, String(Math.max(0, Number(digits) + addedBytes)));
}

/** Lines without the end of the last one. */
function linesOf(text: string): string[] {
  if (text === '') return [];
  return (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
}

/** The text of the lines; its last line ends as that of the old text did. */
function render(lines: readonly string[], oldText: string): string {
  if (lines.length === 0) return '';
  return lines.join('\n') + (oldText === '' || oldText.endsWith('\n') ? '\n' : '');
}
