/**
 * Compares two Debian version numbers by Debian policy 5.6.12: negative when `left` is the older one, 0 when they are
 * equal, positive when it is the newer one. `[epoch:]upstream[-revision]`; a missing epoch or revision counts as 0,
 * and `~` sorts before everything, even the end of a part.
 */
export function compareVersions(left: string, right: string): number {
  const a = splitVersion(left);
  const b = splitVersion(right);
  return (
    comparePart(a.epoch, b.epoch) || comparePart(a.upstream, b.upstream) || comparePart(a.revision, b.revision) || 0
  );
}

/** The parts of a Debian version, empty where it has none: `1`, `2.3` and `4ubuntu1` of `1:2.3-4ubuntu1`. */
export function splitVersion(version: string): { epoch: string; upstream: string; revision: string } {
  const colon = version.indexOf(':');
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return {
    epoch: colon === -1 ? '' : version.slice(0, colon),
    upstream: dash === -1 ? rest : rest.slice(0, dash),
    revision: dash === -1 ? '' : rest.slice(dash + 1),
  };
}

/** Alternates between runs of other characters, compared by `weight`, and runs of digits, compared as numbers. */
function comparePart(left: string, right: string): number {
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    while ((i < left.length && !isDigit(left, i)) || (j < right.length && !isDigit(right, j))) {
      const difference = weight(left, i) - weight(right, j);
      if (difference !== 0) return difference;
      i += 1;
      j += 1;
    }
    const a = digits(left, i);
    const b = digits(right, j);
    i += a.length;
    j += b.length;
    const difference = compareNumbers(a.replace(/^0+/, ''), b.replace(/^0+/, ''));
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Numbers of any length without leading zeros. */
function compareNumbers(left: string, right: string): number {
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}

/** `~` before the end (and before a digit), letters before all other characters. */
function weight(text: string, index: number): number {
  const character = text[index];
  if (character === undefined || isDigit(text, index)) return 0;
  if (character === '~') return -1;
  return character.charCodeAt(0) + (/[A-Za-z]/.test(character) ? 0 : 256);
}

function isDigit(text: string, index: number): boolean {
  const character = text[index];
  return character !== undefined && character >= '0' && character <= '9';
}

function digits(text: string, start: number): string {
  return /^[0-9]*/.exec(text.slice(start))?.[0] ?? '';
}
