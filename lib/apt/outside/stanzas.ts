import { ImageBuilderError } from '../../errors.ts';
import type { ScriptRunner } from '../../guest/guest.ts';
import { runOutsideScript } from './script.ts';

/**
 * The stanzas of packages in the package lists. They come from there, where a signature covers them, and never from the
 * packages' own files: reading one of those means unpacking an archive that a stranger has packed.
 */

/** Fields of a package (deb-control(5)), by name; a value that goes over several lines keeps them. */
export type Stanza = ReadonlyMap<string, string>;

/** Fields of a package that decide how it is installed. */
const installFields = [
  'Package',
  'Version',
  'Architecture',
  'Multi-Arch',
  'Essential',
  'Protected',
  'Important',
  'Source',
  'Section',
  'Priority',
  'Installed-Size',
  'Pre-Depends',
  'Depends',
  'Recommends',
  'Suggests',
  'Enhances',
  'Conflicts',
  'Breaks',
  'Replaces',
  'Provides',
];
const keptFields = new Set([...installFields, 'SHA256']);

const MiB = 1024 * 1024;
/** Some 2 KiB for each version of a package, and 2,000 packages in a build. */
const maximumCharacters = 64 * MiB;
/** Bytes that a line costs beside its characters. */
const lineCharacters = 16;

/**
 * The stanzas of all versions of these packages, `name` or `name:architecture`. Throws `apt.repository` where the
 * stanzas are larger than the limit, `tool.failed` where a package has none.
 */
export async function readStanzas(worker: ScriptRunner, names: readonly string[]): Promise<Stanza[]> {
  if (names.length === 0) return [];
  const reader = createStanzaReader();
  await runOutsideScript(worker, 'stanzas', {
    files: { names: names.join('\n') },
    timeoutMs: 300_000,
    onLine: (line, stream) => {
      if (stream === 'stdout') reader.add(line);
    },
  });
  return reader.end();
}

export interface StanzaReader {
  add(line: string): void;
  /** Throws `apt.repository` where the stanzas were larger than the limit. */
  end(): Stanza[];
}

/** Reads stanzas line by line, and keeps the fields that matter here. Of a field given twice, the first counts. */
export function createStanzaReader(limitCharacters = maximumCharacters): StanzaReader {
  const stanzas: Stanza[] = [];
  let stanza = new Map<string, string[]>();
  /** Lines of the field that continuation lines belong to; null for a field that is not kept. */
  let field: string[] | null = null;
  let characters = 0;
  const finish = () => {
    if (stanza.size > 0) stanzas.push(new Map([...stanza].map(([name, lines]) => [name, lines.join('\n')])));
    stanza = new Map();
    field = null;
  };
  return {
    add(line) {
      characters += line.length + lineCharacters;
      if (characters > limitCharacters) return;
      if (line === '') return finish();
      if (line.startsWith(' ') || line.startsWith('\t')) {
        field?.push(line);
        return;
      }
      const colon = line.indexOf(':');
      const name = line.slice(0, Math.max(0, colon));
      field = keptFields.has(name) && !stanza.has(name) ? [line.slice(colon + 1).trim()] : null;
      if (field !== null) stanza.set(name, field);
    },
    end() {
      if (characters > limitCharacters) {
        throw new ImageBuilderError(
          'apt.repository',
          'the package lists say more of the packages than can be taken in',
        );
      }
      finish();
      return stanzas;
    },
  };
}

/**
 * The text of a stanza for a Packages index, without the fields that depend on a package's file: its place, size and
 * hash.
 */
export function renderStanza(stanza: Stanza): string {
  return installFields
    .flatMap((name) => {
      const value = stanza.get(name);
      return value === undefined ? [] : [`${name}: ${value}\n`];
    })
    .join('');
}
