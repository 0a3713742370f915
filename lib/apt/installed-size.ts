/**
 * The growth of the file system in bytes, which apt-get announces before it downloads anything; null for any other
 * line. `After this operation, 5,678 kB of additional disk space will be used.` up to apt 2, `Space needed: 5,678 kB /
 * 18.4 GB available` since apt 2.9; decimal units (apt-pkg's SizeToStr).
 */
export function parseInstalledSize(line: string): number | null {
  const match =
    /^After this operation, ([0-9.,]+) ([kMGT]?)B of additional disk space will be used/.exec(line) ??
    /^\s*Space needed: ([0-9.,]+) ([kMGT]?)B\b/.exec(line);
  if (match === null) return null;
  const [, number = '', prefix = ''] = match;
  return Math.round(Number(number.replaceAll(',', '')) * 1000 ** '_kMGT'.indexOf(prefix === '' ? '_' : prefix));
}
