import { compareVersions } from '../version.ts';

/**
 * Pins as the image's apt understands them. Before 2.1 it takes `src:name`, a source package, for the name of a binary
 * package, of which there is none.
 */
export function readPreferences(text: string, aptVersion: string): string {
  if (compareVersions(aptVersion, '2.1~') >= 0) return text;
  return text
    .split(/\n(?:[ \t]*\n)+/)
    .flatMap((stanza) => {
      const match = /^(Package:)(.*)$/im.exec(stanza);
      const names = (match?.[2] ?? '').split(/\s+/).filter((name) => name !== '');
      const kept = names.filter((name) => !name.startsWith('src:'));
      if (kept.length === names.length) return [stanza];
      return kept.length === 0 ? [] : [stanza.replace(/^Package:.*$/im, () => `Package: ${kept.join(' ')}`)];
    })
    .join('\n\n');
}
