import { compareVersions } from '../version.ts';

const field = 'package:';

/**
 * Pins as the image's apt understands them. Before 2.1 it takes `src:name`, a source package, for a binary package's
 * name, which no package has.
 */
export function readPreferences(text: string, aptVersion: string): string {
  if (compareVersions(aptVersion, '2.1~') >= 0) return text;
  const stanzas: string[] = [];
  let lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() !== '') lines.push(line);
    else if (lines.length > 0) {
      stanzas.push(...withoutSourcePackages(lines));
      lines = [];
    }
  }
  stanzas.push(...withoutSourcePackages(lines));
  return `${stanzas.join('\n\n')}\n`;
}

/** The stanza of these lines; empty where it pins source packages alone. */
function withoutSourcePackages(lines: readonly string[]): string[] {
  const place = lines.findIndex((line) => line.slice(0, field.length).toLowerCase() === field);
  const names = (lines[place] ?? '').slice(field.length).trim().split(/\s+/);
  const kept = names.filter((name) => !name.startsWith('src:'));
  if (kept.length === 0 || lines.length === 0) return [];
  const changed = kept.length === names.length ? lines : lines.with(place, `Package: ${kept.join(' ')}`);
  return [changed.join('\n')];
}
