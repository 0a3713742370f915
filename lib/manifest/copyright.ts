/**
 * Parses the copyright file of a Debian package in the machine-readable form
 * (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/). Resolves to the licences that its paragraphs name,
 * for the package as a whole and for some of its files, each once. Null for a file of another form, and where some files
 * have no licence.
 */
export function parseCopyright(file: Uint8Array): string[] | null {
  const [header, ...paragraphs] = paragraphsOf(Buffer.from(file).toString('utf8'));
  if (header?.get('format')?.includes('copyright-format') !== true) return null;
  // Paragraphs without files have the texts of licences.
  const stated = paragraphs.flatMap((paragraph) => (paragraph.has('files') ? [paragraph.get('license') ?? ''] : []));
  const whole = header.get('license') ?? '';
  const licences = new Set(whole === '' ? stated : [whole, ...stated]);
  return licences.size === 0 || licences.has('') ? null : [...licences];
}

const wanted = ['format', 'files', 'license'];

/** The first lines of the wanted fields of each paragraph, by their names in small letters. */
function paragraphsOf(text: string): Map<string, string>[] {
  const paragraphs: Map<string, string>[] = [];
  let isInside = false;
  for (const line of text.split('\n')) {
    if (line.trim() === '') {
      isInside = false;
      continue;
    }
    if (!isInside) paragraphs.push(new Map());
    isInside = true;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const fields = paragraphs.at(-1);
    if (wanted.includes(name) && fields?.has(name) === false) fields.set(name, line.slice(colon + 1).trim());
  }
  return paragraphs;
}
