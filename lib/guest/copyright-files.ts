/** The copyright files of an image's packages, as scripts/copyright.sh writes them. */

/** Most bytes that scripts/copyright.sh writes: a zero byte and 32 MiB of files. */
export const maximumCopyrightBytes = 32 * 2 ** 20 + 1;

const head = '==> /usr/share/doc/';
const tail = '/copyright <==\n';
/** No name of a package is longer than that of a file may be. */
const longestName = 255;

/**
 * Parses what scripts/copyright.sh has written behind its zero byte: the content of each file, by the name of the folder
 * that it is in, which is the package's. The image has a say in it: a file may have lines that look like those between
 * two files. The last file is left out where there were too many bytes, as its end may be missing.
 */
export function parseCopyrightFiles(output: Buffer): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let name: string | null = null;
  let from = 0;
  for (let at = output.indexOf(head); at !== -1; at = output.indexOf(head, at + head.length)) {
    if (at > 0 && output[at - 1] !== 0x0a) continue;
    const next = nameAt(output, at + head.length);
    if (next === null) continue;
    if (name !== null) files.set(name, output.subarray(from, at - 1));
    name = next;
    from = at + head.length + next.length + tail.length;
  }
  if (name !== null && output.length < maximumCopyrightBytes - 1) files.set(name, output.subarray(from));
  return files;
}

function nameAt(output: Buffer, from: number): string | null {
  const line = output.toString('latin1', from, from + longestName + tail.length);
  const end = line.indexOf(tail);
  return end <= 0 || line.lastIndexOf('/', end - 1) !== -1 ? null : line.slice(0, end);
}
