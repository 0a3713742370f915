import { ImageBuilderError } from '../../errors.ts';
import { upTo } from '../../text.ts';

/**
 * The two formats of sources.list(5), read into one form: the fields of deb822 by name in lower case, not checked.
 * Newlines separate the lines of a value.
 */
export type SourceFields = ReadonlyMap<string, string>;

/** Options of the one-line format and the deb822 fields they stand for, where the names differ. */
const optionNames: Readonly<Record<string, string>> = {
  arch: 'architectures',
  'arch+': 'architectures-add',
  'arch-': 'architectures-remove',
};

/** Parses `deb [option=value …] URI suite [component …]` lines. Throws `apt.repository` for any other line. */
export function parseOneLine(text: string, file: string): SourceFields[] {
  return text.split('\n').flatMap((raw, index): SourceFields[] => {
    const line = upTo(raw, '#').trim();
    if (line === '') return [];
    const types = /^(?:deb|deb-src)(?=\s)/.exec(line)?.[0] ?? '';
    const [options, rest] = splitOptions(line.slice(types.length).trim());
    const words = wordsOf(rest);
    const [uris, suites] = words;
    if (types === '' || uris === undefined || suites === undefined) throw malformed(`line ${index + 1}`, file);
    const fields = new Map([
      ['types', types],
      ['uris', uris],
      ['suites', suites],
      ['components', words.slice(2).join(' ')],
    ]);
    for (const option of options.split(/\s+/).filter((word) => word !== '')) {
      const [, name = '', value = ''] = /^([A-Za-z-]+?[+-]?)=(.*)$/.exec(option) ?? [];
      if (name === '') throw malformed(`line ${index + 1}`, file);
      const lower = name.toLowerCase();
      fields.set(optionNames[lower] ?? lower, value.replaceAll(',', ' '));
    }
    return [fields];
  });
}

/** The words of a line. The name of a disc stands in brackets, with blanks: `cdrom:[Debian 12]/`. */
function wordsOf(text: string): string[] {
  const end = text.startsWith('cdrom:[') ? text.indexOf(']') : -1;
  const [rest = '', ...words] = text.slice(end + 1).split(/\s+/);
  return [text.slice(0, end + 1) + rest, ...words];
}

/** The text in the brackets at the beginning, and the text after them. */
function splitOptions(text: string): [options: string, rest: string] {
  const end = text.indexOf(']');
  return text.startsWith('[') && end > 0 ? [text.slice(1, end), text.slice(end + 1).trim()] : ['', text];
}

/**
 * Parses stanzas of `Field: value`, continued on indented lines, separated by empty ones; `#` at the start is a
 * comment.
 */
export function parseDeb822(text: string, file: string): SourceFields[] {
  const stanzas: Map<string, string>[] = [];
  let fields: Map<string, string> | null = null;
  let name: string | null = null;
  for (const [index, line] of text.split('\n').entries()) {
    if (line.startsWith('#')) continue;
    if (line.trim() === '') {
      fields = null;
      name = null;
      continue;
    }
    if (/^[ \t]/.test(line)) {
      if (fields === null || name === null) throw malformed(`line ${index + 1}`, file);
      const rest = line.trim();
      fields.set(name, `${fields.get(name)}\n${rest === '.' ? '' : rest}`);
      continue;
    }
    const match = /^([A-Za-z0-9-]+):(.*)$/.exec(line);
    if (match === null) throw malformed(`line ${index + 1}`, file);
    if (fields === null) {
      fields = new Map();
      stanzas.push(fields);
    }
    name = (match[1] ?? '').toLowerCase();
    fields.set(name, (match[2] ?? '').trim());
  }
  return stanzas;
}

function malformed(where: string, file: string): ImageBuilderError {
  return new ImageBuilderError(
    'apt.repository',
    `the image's own source in ${file} is not written as apt wants it (${where}); mend it in the base image, or take it out`,
  );
}
