/**
 * The digests in a SHA256SUMS file as sha256sum(1) writes it: `digest  file` (text) or `digest *file` (binary), one a
 * line. Keys are file names without folder, values lower-case hexadecimal. Other lines, such as the frame of an inline
 * signature, are skipped; a name with two digests is left out, since neither can be trusted.
 */
export function parseChecksums(text: string): Map<string, string> {
  const digests = new Map<string, string>();
  const ambiguous = new Set<string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^([0-9a-fA-F]{64}) [ *](.+)$/.exec(line);
    if (match === null) continue;
    const [, digest = '', path = ''] = match;
    const name = path.slice(path.lastIndexOf('/') + 1);
    const known = digests.get(name);
    if (known !== undefined && known !== digest.toLowerCase()) ambiguous.add(name);
    digests.set(name, digest.toLowerCase());
  }
  for (const name of ambiguous) digests.delete(name);
  return digests;
}
