/** Most edits (a character put in, taken out or exchanged, two swapped) between a name and the one that was meant. */
const mostEdits = 2;
const mostSuggestions = 3;
/** Longer names are not compared: the longest of Debian's has some 80 characters. */
const longestName = 100;

/**
 * The names nearest to one that is not there, at most three equally near ones; none where all of them are farther than
 * `limit` edits. A short name is near to too many others.
 */
export function nearestNames(
  name: string,
  names: readonly string[],
  limit: number = name.length < 5 ? 1 : mostEdits,
): string[] {
  if (name.length > longestName) return [];
  const near = names.flatMap((other) => {
    if (Math.abs(other.length - name.length) > limit) return [];
    const edits = editsBetween(name, other);
    return edits <= limit ? [{ other, edits }] : [];
  });
  const least = near.reduce((edits, each) => Math.min(edits, each.edits), limit);
  return near
    .flatMap(({ other, edits }) => (edits === least ? [other] : []))
    .sort()
    .slice(0, mostSuggestions);
}

/** The distance of Damerau and Levenshtein (optimal string alignment), row by row. */
function editsBetween(left: string, right: string): number {
  let before: number[] = [];
  let row = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let line = 1; line <= left.length; line += 1) {
    const next = [line];
    for (let column = 1; column <= right.length; column += 1) {
      const exchanged = (row[column - 1] ?? 0) + (left[line - 1] === right[column - 1] ? 0 : 1);
      const swapped = left[line - 1] === right[column - 2] && left[line - 2] === right[column - 1];
      const swap = swapped ? (before[column - 2] ?? Number.POSITIVE_INFINITY) + 1 : Number.POSITIVE_INFINITY;
      next.push(Math.min(exchanged, swap, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row[right.length] ?? 0;
}
